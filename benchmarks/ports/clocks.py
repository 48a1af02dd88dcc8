"""Do the clocks of a worker run like those of this process?"""

import time

from benchmarks.ports.sample import CLOCKS, Sample

SLACK_SECONDS = 0.05  # for a request to get there and back, on a machine that has other things to do
LARGEST_HIDDEN = 0.2  # maximum fraction of elapsed time that the worker's clock may miss


class Stopwatch:
    """Wall seconds, and the processor seconds of a process, since this was made."""

    def __init__(self, pid: int) -> None:
        self.pid, self.started, self.spent = pid, time.perf_counter(), _processor_seconds(pid)

    def hidden(self, sample: Sample) -> float:
        """Return the fraction of elapsed time missing from the sample, or -1 if the sample exceeds elapsed time."""
        elapsed = {"wall": time.perf_counter() - self.started, "cpu": _processor_seconds(self.pid) - self.spent}
        if not 0 < sample.wall <= elapsed["wall"] + SLACK_SECONDS:
            return -1.0
        sampled = {"wall": sample.wall, "cpu": sample.cpu}
        missing = {clock: elapsed[clock] - sampled[clock] - SLACK_SECONDS for clock in CLOCKS}
        return max(0.0, *(missing[clock] / elapsed[clock] for clock in CLOCKS if elapsed[clock] > 0))


def _processor_seconds(pid: int) -> float:
    """Return the kernel's own count, which Linux has; 0 elsewhere."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the id of that process's clock: see clock_getcpuclockid(3)
    except (AttributeError, OSError):
        return 0.0
