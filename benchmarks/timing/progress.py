"""How far a run is, and how long it will still take."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean


class Progress:
    """Counts stages; the time left is judged by how long stages of the same kind took.

    Args:
        kinds: of every stage to come, in order.
        say: takes a line.
    """

    def __init__(self, kinds: Sequence[str], say: Callable[[str], None]) -> None:
        self.kinds, self._say, self.done = list(kinds), say, 0
        self.took: dict[str, list[float]] = {}

    @contextmanager
    def stage(self) -> Iterator[None]:
        """Times the next one."""
        started = time.monotonic()
        yield
        self.took.setdefault(self.kinds[self.done], []).append(time.monotonic() - started)
        self.done += 1

    @property
    def seconds_left(self) -> float | None:
        """Of the stages from the current one on; None before one of each of their kinds is done."""
        kinds = self.kinds[self.done :]
        return sum(fmean(self.took[kind]) for kind in kinds) if set(kinds) <= self.took.keys() else None

    def say(self, line: str) -> None:
        """The line behind where the run is."""
        left = "" if self.seconds_left is None else f", about {duration(self.seconds_left)} left"
        stage = min(self.done + 1, len(self.kinds))
        self._say(f"[{stage}/{len(self.kinds)}{left}] {line}")


def duration(seconds: float) -> str:
    """In whole seconds, or minutes from two of them on."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
