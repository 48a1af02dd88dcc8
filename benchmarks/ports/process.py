"""Worker: the outside of a worker process that is timed, profiled and asked for checksums."""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ports.clocks import LARGEST_HIDDEN, Stopwatch
from benchmarks.ports.sample import Sample
from benchmarks.ports.timed_port import Case
from core_torch.files.splits import Split
from core_torch.parity.arrays_file import write_arrays
from core_torch.parity.candidate import Arrays
from core_torch.parity.external import NO_ACCELERATOR, TIMEOUT_SECONDS, ExternalWorker, WorkerError
from core_torch.spec.recipe import Recipe

PROFILED_STEPS = (5, 30, 2.0)  # at least; at most; no more after so many seconds
# Of a sample: a loader whose epoch takes 10 ms would slip between the disturbances that a slower one averages over.
LEAST_SECONDS = 0.15
# glibc hands large blocks back to the kernel and faults them in again, at a third of a convolutional step, or keeps
# them, as chance has it: the same variant measured 1.5 times faster for having imported Lightning. Here all keep them.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}


class Worker(ExternalWorker):
    """One framework in its own process. Use as a context manager; implements `TimedPort` by asking the process.

    Args:
        name: framework/variant, as tables print it.
        module: the variant module to import there; of Python's own worker.
        command: a worker in any language, in place of Python's.
        device: `cpu` hides every accelerator from the framework.
        environment: variables set before the framework is imported.
        pinned: run on one core; a loader with workers of its own is not. Of Python's own worker.
        timeout: seconds that a request may take.

    Raises:
        WorkerError: the command cannot be started.
    """

    def __init__(
        self,
        name: str,
        *,
        module: str = "",
        command: Sequence[str] = (),
        device: str = "cpu",
        environment: Mapping[str, str] | None = None,
        pinned: bool = True,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self.first: Sample | None = None  # the first epoch since `prepare`, compilation included
        self.hidden = math.inf  # see `check_clocks`
        hidden = {} if device.startswith("cuda") else NO_ACCELERATOR
        core = ["--core", str(min(os.sched_getaffinity(0)))] if pinned and sys.platform == "linux" else []
        own = [sys.executable, "-m", "benchmarks.ports.worker", module, *core]
        variables = KEEP_MEMORY | hidden | dict(environment or {})
        super().__init__(name, command=command or own, environment=variables, timeout=timeout)

    def prepare(self, case: Case, split: Split, recipe: Recipe) -> dict[str, Any]:  # type: ignore[override]
        """Send the data; the worker builds the port, in place of an earlier one."""
        self.first = None
        write_arrays(Path(self.folder.name) / "split.safetensors", {"images": split.images, "labels": split.labels})
        return self.ask(do="prepare", case=asdict(case), name=split.name, recipe=recipe.to_dict())

    def epoch(self, epoch: int) -> int:
        """See `TimedPort`."""
        return self._clocked(epoch, least=0.0).images

    def time(self, epoch: int) -> Sample:
        """One epoch, or as many as take `LEAST_SECONDS`, by the worker's own clocks; the first time one."""
        return self._clocked(epoch, least=LEAST_SECONDS if self.first else 0.0)

    def _clocked(self, epoch: int, *, least: float) -> Sample:
        stopwatch = Stopwatch(self.process.pid)
        sample = Sample(**self.ask(do="time", epoch=epoch, least=least))
        self.hidden = min(self.hidden, stopwatch.hidden(sample))
        self.first = self.first or sample
        return sample

    def check_clocks(self) -> None:
        """Raise `WorkerError` if the worker's clocks never agreed with those here while it was timed."""
        if self.hidden < 0:
            raise WorkerError(f"{self.name}: its clock told of more time than had passed")
        if LARGEST_HIDDEN < self.hidden < math.inf:
            raise WorkerError(f"{self.name}: its clocks told of {1 - self.hidden:.0%} of the time that had passed")

    def profile(self, *, batch_size: int) -> dict[str, Any]:
        """What the worker says of itself, for the `profiles` of results.json; it trains on while it is asked.

        {"step", "data"}: seconds by the clocks of a step alone, on a batch at hand, and of the delivery alone of an
        epoch's batches, where the variant can tell.
        """
        row = self.ask(do="profile", batch_size=batch_size, steps=PROFILED_STEPS)
        walls = row.pop("step_walls", None)
        if walls:
            row["step_seconds_p50"], row["step_seconds_p95"] = map(float, np.quantile(walls, [0.5, 0.95]))
        return row | ({"first_epoch_seconds": self.first.wall} if self.first else {})

    def checksums(self, epoch: int) -> np.ndarray:
        """See `LoadingTrial`."""
        return self._call("checksums", number=epoch)[1]["result"]

    def figures(self) -> Arrays:
        """See `Calibration`."""
        return self._call("figures")[1]

    def error(self) -> float:
        """See `QualityTrial`."""
        error: float = self._call("error")[0]
        return error
