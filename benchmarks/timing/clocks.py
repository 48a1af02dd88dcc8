"""Did the machine give a process the time that passed?"""

import time
from collections.abc import Iterable

from benchmarks.ports.sample import Sample

LARGEST_STOLEN = 0.2  # share of wall time in which a process that only computes did not run
PROBE_SECONDS = 0.25  # many time slices: a sample shorter than one is taken from nobody, however many wait


def is_stolen(samples: Iterable[Sample]) -> bool:
    """Tell whether others took the processor from processes that did nothing but compute."""
    taken = list(samples)
    return sum(sample.cpu for sample in taken) < (1 - LARGEST_STOLEN) * sum(sample.wall for sample in taken)


def is_crowded() -> bool:
    """Tell whether others take the processor from this process while it does nothing but compute."""
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < PROBE_SECONDS:
        pass
    return is_stolen([Sample(time.perf_counter() - wall, time.process_time() - cpu, images=1)])
