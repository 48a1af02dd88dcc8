"""How far a run is, and how long it will still take."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean


class Progress:
    """Counts stages; the time left is judged by how long stages of the same kind took.

    Args:
        kinds: of every stage to come, in order.
        log: takes a line.
    """

    def __init__(self, kinds: Sequence[str], log: Callable[[str], None]) -> None:
        self.kinds, self._log, self.done = list(kinds), log, 0
        self.took: dict[str, list[float]] = {}

    @contextmanager
    def stage(self) -> Iterator[None]:
        """Time the next stage."""
        started = time.monotonic()
        yield
        self.took.setdefault(self.kinds[self.done], []).append(time.monotonic() - started)
        self.done += 1

    @property
    def seconds_left(self) -> float | None:
        """Return the time of the stages from the current one on; None before one of each of their kinds is done."""
        kinds = self.kinds[self.done :]
        return sum(fmean(self.took[kind]) for kind in kinds) if set(kinds) <= self.took.keys() else None

    def log(self, line: str) -> None:
        """Log a line behind where the run is."""
        left = "" if self.seconds_left is None else f", about {duration(self.seconds_left)} left"
        stage = min(self.done + 1, len(self.kinds))
        self._log(f"[{stage}/{len(self.kinds)}{left}] {line}")


def duration(seconds: float) -> str:
    """Format whole seconds, or minutes from two of them on."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
