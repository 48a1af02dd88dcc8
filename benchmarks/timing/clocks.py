"""Whether the clocks of a worker go as those here do, and whether the machine gave it the time that passed."""

import time
from collections.abc import Iterable

from benchmarks.timing.intervals import Sample

SLACK_SECONDS = 0.05  # for a request to get there and back, on a machine that has other things to do
LARGEST_HIDDEN = 0.2  # share of the time passed here of which a clock there may not tell
LARGEST_STOLEN = 0.2  # share of wall time in which a process that only computes did not run
PROBE_SECONDS = 0.25  # many time slices: a sample shorter than one is taken from nobody, however many wait


class Stopwatch:
    """Wall seconds, and the processor seconds of a process, since this was made."""

    def __init__(self, pid: int) -> None:
        self.pid, self.started, self.spent = pid, time.perf_counter(), _processor_seconds(pid)

    def hidden(self, sample: Sample) -> float:
        """The share of the time passed, by either clock, that a sample does not tell; -1: it tells of more."""
        passed = {"wall": time.perf_counter() - self.started, "cpu": _processor_seconds(self.pid) - self.spent}
        if not 0 < sample.wall <= passed["wall"] + SLACK_SECONDS:
            return -1.0
        told = {"wall": sample.wall, "cpu": sample.cpu}
        untold = {clock: passed[clock] - told[clock] - SLACK_SECONDS for clock in told}
        return max(0.0, *(untold[clock] / passed[clock] for clock in told if passed[clock] > 0))


def _processor_seconds(pid: int) -> float:
    """By the kernel's own count, which is Linux's; 0 where it does not tell."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the id of that process's clock: see clock_getcpuclockid(3)
    except (AttributeError, OSError):
        return 0.0


def is_stolen(samples: Iterable[Sample]) -> bool:
    """Whether others took the processor from processes that did nothing but compute."""
    taken = list(samples)
    return sum(sample.cpu for sample in taken) < (1 - LARGEST_STOLEN) * sum(sample.wall for sample in taken)


def is_crowded() -> bool:
    """Whether others take the processor from this process while it does nothing but compute."""
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < PROBE_SECONDS:
        pass
    return is_stolen([Sample(time.perf_counter() - wall, time.process_time() - cpu, images=1)])
