"""Which device a command runs on, and by which library a CPU multiplies."""

import time

import torch

from core_torch.spec.devices import parse_device
from core_torch.spec.errors import ConfigError

PROBE_SHAPES = (512, 784), (784, 200)  # the largest product of the shallow model's step
PROBE_REPEATS = 20  # times it is computed
LARGEST_ERROR = 1e-5  # relative; float32 is off by 3e-7, bfloat16 by 3e-3
LEAST_GAIN = 1.1  # times as fast, below which the probe's own noise would choose


def choose_device(name: str) -> torch.device:
    """Find a device by name; `auto` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: no such device here.
    """
    if parse_device(name).kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        present = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise ConfigError(f"device: found {name}, allowed on this machine: auto, {present}") from error
    return device


def select_matmul_backend() -> str:
    """Select oneDNN instead of MKL for float32 products on a CPU if it is faster and equally accurate.

    - "medium" allows oneDNN to compute in bfloat16, as it does on some processors. A product of known result shows
      it, and "highest" stays.
    - On an AMD processor with AVX-512 it took half the time, at a relative error of 8e-7; on others it took as long.
    - A GPU obeys the setting too, so where there is one nothing is changed.

    Returns:
        What `torch.get_float32_matmul_precision` says from now on.
    """
    if not torch.cuda.is_available():
        found = {precision: measure_matmul(precision) for precision in ("highest", "medium")}
        exact, seconds = zip(*found.values())
        is_better = exact[1] <= LARGEST_ERROR and seconds[1] * LEAST_GAIN < seconds[0]
        torch.set_float32_matmul_precision("medium" if is_better else "highest")
    return torch.get_float32_matmul_precision()


def measure_matmul(precision: str) -> tuple[float, float]:
    """Measure (relative error, least processor seconds) of a product of `PROBE_SHAPES` under that setting."""
    torch.set_float32_matmul_precision(precision)
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, generator=generator) for size in PROBE_SHAPES)
    expected, seconds = left.double() @ right.double(), []
    for _ in range(PROBE_REPEATS):
        started = time.process_time()
        product = left @ right
        seconds.append(time.process_time() - started)
    return float((product - expected).norm() / expected.norm()), min(seconds)
