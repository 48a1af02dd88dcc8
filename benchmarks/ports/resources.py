"""What a step and an epoch take besides time: operators, kernel launches, memory, energy."""

import ctypes
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")  # Intel's and AMD's; often for the superuser only
WINDOW_SECONDS = 5.0  # counters of energy are coarse
IDLE_SECONDS = 1.0
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync")

Meter = Callable[[], float]  # joules since some moment


def torch_calls(step: Callable[[], object]) -> dict[str, int]:
    """{"operators_per_step", "launches_per_step"} of PyTorch's profiler: calls of ATen operators, those inside others
    included, and on a GPU what was launched there. Empty where PyTorch is not what computes.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        step()
    names = [event.name for event in profile.events()]
    operators = sum(name.startswith("aten::") for name in names)
    launched = {"launches_per_step": sum(name.startswith(LAUNCHES) for name in names)} if len(kinds) > 1 else {}
    return {"operators_per_step": operators, **launched} if operators else {}


def peak_host_bytes() -> int:
    """Of this process since its start, and of the largest child it has waited for."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes; Linux counts by KiB
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(kind).ru_maxrss for kind in kinds) * unit


def peak_device_bytes() -> int | None:
    """As the framework's own allocator counts; None without an accelerator."""
    torch, tensorflow, jax = (sys.modules.get(name) for name in ("torch", "tensorflow", "jax"))
    if torch and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    if tensorflow and tensorflow.config.list_physical_devices("GPU"):
        return int(tensorflow.config.experimental.get_memory_info("GPU:0")["peak"])
    statistics = jax.local_devices()[0].memory_stats() if jax else None
    return statistics["peak_bytes_in_use"] if statistics else None


def energy_per_image(epoch: Callable[[], int], *, device: str) -> float | None:
    """Joules an image of `epoch`, which returns how many it saw, above those of the idle device; None if not told."""
    meter = nvidia_meter() if device.startswith("cuda") else processor_meter()
    if meter is None:
        return None
    before, started = meter(), time.perf_counter()
    time.sleep(IDLE_SECONDS)
    idle = (meter() - before) / (time.perf_counter() - started)
    before, started, images = meter(), time.perf_counter(), 0
    while time.perf_counter() - started < WINDOW_SECONDS:
        images += epoch()
    used = meter() - before
    if used < 0 or idle < 0:  # the counter has begun anew
        return None
    return max(0.0, used - idle * (time.perf_counter() - started)) / images


def processor_meter(path: Path = RAPL) -> Meter | None:
    """The package's counter, if it can be read."""
    try:
        int(path.read_text())
    except (OSError, ValueError):
        return None
    return lambda: int(path.read_text()) / 1e6  # microjoules


def nvidia_meter() -> Meter | None:
    """The counter of the first visible GPU since its driver was loaded, if NVIDIA's library is there and tells."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    if not first.isdecimal():
        return None
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    handle, joules = ctypes.c_void_p(), ctypes.c_ulonglong()
    if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(int(first), ctypes.byref(handle)):
        return None
    if library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(joules)):
        return None

    def read() -> float:
        library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(joules))
        return joules.value / 1e3  # millijoules

    return read
