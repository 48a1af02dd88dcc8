"""The inside of a worker process that is timed; see `core_torch.parity.worker` for what it shares with others."""

import argparse
import importlib
import os
import platform
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.ports.resources import energy_per_image, peak_device_bytes, peak_host_bytes, torch_calls
from benchmarks.ports.timed_port import Case
from benchmarks.ports.versions import PACKAGES, package_version
from core_torch.files.splits import Split, to_unit_range
from core_torch.parity.arrays_file import read_arrays
from core_torch.parity.worker import Handler, Server, serve_standard_input
from core_torch.spec.recipe import Recipe

PROFILED_IMAGES = 1000  # the largest batch
VARIABLES = (
    "OMP_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "MALLOC_MMAP_MAX_",
    "MALLOC_TRIM_THRESHOLD_",
    "XLA_FLAGS",
    "KERAS_BACKEND",
    "NVIDIA_TF32_OVERRIDE",
)


class TimedServer(Server):
    """Answers requests about one timed port, loader, floor or calibration."""

    def __init__(self, folder: Path, module: str) -> None:
        super().__init__(folder, module)
        self.device = "cpu"
        self.images = np.empty((0, 0), np.float32)  # (N, pixels) in [0, 1]: what a single step is timed on

    def handlers(self) -> dict[str, Handler]:
        """{what a request asks for: the method that answers it}."""
        return super().handlers() | {"time": self.time, "profile": self.profile, "describe": self.describe}

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Build the timed port; the time that takes is reported, never compared."""
        split = Split(**read_arrays(self.folder / "split.safetensors"), name=request["name"])
        few = split.take(np.arange(min(len(split), PROFILED_IMAGES)))
        self.images = to_unit_range(few.images).reshape(len(few), -1)
        started = time.perf_counter()
        module = importlib.import_module(self.module)
        case = Case(**request["case"])
        self.device = case.device
        self.candidate = module.prepare(case, split, Recipe().with_changes(**request["recipe"]))
        return {"seconds": time.perf_counter() - started}

    def time(self, request: dict[str, Any]) -> dict[str, Any]:
        """Epochs for `least` seconds, one at least: wall seconds, processor seconds of this process and its children,
        images seen.
        """
        images: list[int] = []
        taken = {"wall": 0.0, "cpu": 0.0}
        while not images or taken["wall"] < request["least"]:
            clocked = _clocked(lambda: images.append(self.candidate.epoch(request["epoch"] + len(images))))
            taken = {clock: taken[clock] + clocked[clock] for clock in taken}
        return taken | {"images": sum(images)}

    def profile(self, request: dict[str, Any]) -> dict[str, Any]:
        """Where an epoch's time goes, and what it takes: see `Worker.profile`."""
        found: dict[str, Any] = {"peak_host_bytes": peak_host_bytes(), "peak_device_bytes": peak_device_bytes()}
        found["joules_per_image"] = energy_per_image(lambda: self.candidate.epoch(0), device=self.device)
        images = self.images[: request["batch_size"]]
        if hasattr(self.candidate, "step"):
            steps: list[dict[str, float]] = []
            least, most, seconds = request["steps"]
            while len(steps) < least or (len(steps) < most and sum(step["wall"] for step in steps) < seconds):
                steps.append(_clocked(lambda: self.candidate.step(images, images)))
            found["step_walls"] = [step["wall"] for step in steps]
            found["step"] = {clock: median(step[clock] for step in steps) for clock in ("wall", "cpu")}
            found |= torch_calls(lambda: self.candidate.step(images, images))
        if hasattr(self.candidate, "batches"):
            found["data"] = _clocked(lambda: deque(self.candidate.batches(0), maxlen=0))
        return found | {"settings": self.describe(request)["settings"]}

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        """Versions of whatever is imported here, and the settings that decide its speed."""
        settings: dict[str, Any] = {"cores": _cores(), "variables": {name: os.environ.get(name) for name in VARIABLES}}
        if torch := sys.modules.get("torch"):
            settings["torch threads"] = torch.get_num_threads()
            settings["torch float32 matmul precision"] = torch.get_float32_matmul_precision()
            settings["torch cuDNN TF32"] = torch.backends.cudnn.allow_tf32
        if tensorflow := sys.modules.get("tensorflow"):
            settings["tensorflow TF32"] = tensorflow.config.experimental.tensor_float_32_execution_enabled()
        if jax := sys.modules.get("jax"):
            settings["jax matmul precision"] = jax.config.jax_default_matmul_precision
        for name in ("jit_compile", "run_eagerly", "steps_per_execution"):
            if isinstance(value := getattr(getattr(self.candidate, "trained", None), name, None), (bool, int, str)):
                settings[f"keras {name}"] = value
        if residency := getattr(self.candidate, "fell_back_to", ""):
            settings["fell back to"] = residency
        versions = {name: package_version(name) for name in PACKAGES if name in sys.modules}
        return {"python": platform.python_version(), "cores": _cores(), "versions": versions, "settings": settings}


def _clocked(run: Callable[[], object]) -> dict[str, float]:
    wall, processor = time.perf_counter(), _processor_seconds()
    run()
    return {"wall": time.perf_counter() - wall, "cpu": _processor_seconds() - processor}


def _cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor_seconds() -> float:
    """Of this process, to the nanosecond, and of children it has waited for, which Linux counts by 10 ms."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def pin(core: int) -> None:
    """Every thread to one core: then no framework's thread pool can differ from another's."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {core})


def main() -> None:
    """`python -m benchmarks.ports.worker MODULE [--core N] FOLDER`: the module is imported at once, on any core."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ports.worker")
    parser.add_argument("module")
    parser.add_argument("--core", type=int)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    pinned = () if options.core is None else (partial(pin, options.core),)
    serve_standard_input(TimedServer(options.folder, options.module), *pinned)


if __name__ == "__main__":
    main()
