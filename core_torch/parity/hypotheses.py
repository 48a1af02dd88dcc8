"""Try the known bugs on a port that was rejected: a bug is named only if it computes every entry that the port has."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from core_torch.parity.bugs.bug import Bug
from core_torch.parity.bugs.catalogue import BUGS
from core_torch.parity.distance import OUTPUT, STATE_KINDS, group_distance, groups, levels_of, members, steps
from core_torch.parity.problem import Problem
from core_torch.parity.tolerances import FACTOR, ROUNDING, tolerances
from core_torch.parity.trace import Trace, answers_of, record_trace

SECONDS = 20  # for trying bugs; the rest is reported as not tried
NEAR = 0.1  # of what separates a bug from the truth; a budget beyond it could not tell the two apart
HIDDEN_LAYER = 1e-4  # relatively; the outputs, which follow from the layers, are held to their own budget


@dataclass(frozen=True)
class Ruling:
    """What the known bugs say about a trace: those that compute all of it, and how many were not tried."""

    named: list[Bug] = field(default_factory=list)
    untried: int = 0


@dataclass(frozen=True)
class Evidence:
    """A trace of a port, and what it is held against."""

    problem: Problem
    truth: Trace
    found: Trace
    budget: Mapping[str, float]
    dtype: str = "float32"

    def ruling(self, bugs: Iterable[Bug] = tuple(BUGS.values()), *, seconds: float = SECONDS) -> Ruling:
        """Try every bug that the problem has a place for; none on a trace that is only short, which needs no bug."""
        if self.first_difference is None:
            return Ruling()
        deadline, named, untried = time.monotonic() + seconds, [], 0
        for bug in (bug for bug in bugs if bug.needs(self.problem)):
            if time.monotonic() > deadline:
                untried += 1
            elif self.is_reproduced_by(bug):
                named.append(bug)
        return Ruling(named, untried)

    def is_reproduced_by(self, bug: Bug, answers: Iterable[Trace] | None = None) -> bool:
        """Whether the bug computes every entry that the port has, within the budget of such a computation.

        Args:
            answers: what the bug computes, question by question, if that is known.
        """
        computed: Trace = {}
        doubtful: dict[str, float] = {}  # {group: distance}; beyond the right port's budget
        shows = False  # somewhere that the port has entries; else it would explain any port
        for part in answers or self._answers(bug):
            computed |= part
            for group in groups(part):
                gap, apart = self.gap(group, part), self.separation(group, part)
                shows = shows or apart > self.limit(group)
                if gap <= self.limit(group):
                    continue
                if not (np.isfinite(apart) and gap <= NEAR * apart):
                    return False
                doubtful[group] = gap
        return shows and self._shows_nothing_else(computed) and self._is_rounding(bug, computed, doubtful)

    def is_computed_by(self, answers: Iterable[Trace]) -> bool:
        """Whether these are the port's numbers, within the right port's budget."""
        return all(self.gap(group, part) <= self.limit(group) for part in answers for group in groups(part))

    def _answers(self, bug: Bug) -> Iterator[Trace]:
        return answers_of(bug.candidate(self.problem, dtype=self.dtype), self.problem, dtype=self.dtype)

    @cached_property
    def first_difference(self) -> tuple[str, float] | None:
        """Name the first group of entries that a right port would not have, and its distance."""
        for part in self._answers(Bug("")):
            for group in groups(part):
                gap = self.gap(group, part)
                if not gap <= self.limit(group):
                    return group, gap
        return None

    def gap(self, group: str, computed: Trace) -> float:
        """Measure the port's entries of a group against computed ones; 0 for those that it need not show."""
        mine, theirs = members(group, self.found), members(group, computed)
        is_later = int(group.rpartition("@")[2]) > max(steps("loss", self.found), default=0)
        if not mine and (is_later or group.startswith(("state/", "batch/", "first@")) or _is_layer(group)):
            return 0.0
        if mine.keys() == theirs.keys() and all(_is_same(mine[name], theirs[name]) for name in mine):
            return 0.0
        return group_distance(group, self.found, computed)

    def separation(self, group: str, computed: Trace) -> float:
        """Measure how far a bug is from the truth, where truth and port have that group."""
        if not (members(group, self.truth) and members(group, self.found)):
            return 0.0
        distance = group_distance(group, computed, self.truth)
        return np.inf if np.isnan(distance) else distance

    def limit(self, group: str) -> float:
        """Return the tolerance of a right port."""
        limits = tolerances(self.budget, dtype=self.dtype)
        levels = levels_of(group, last=max(steps("update", self.truth), default=1))
        return max((limits[level] for level in levels), default=HIDDEN_LAYER)

    def _shows_nothing_else(self, computed: Trace) -> bool:
        """Whether the bug has all groups that the port has; a bug that shows no state explains none."""
        theirs = set(groups(computed))
        return all(group in theirs or _is_layer(group) or _is_unknown_state(group) for group in groups(self.found))

    def _is_rounding(self, bug: Bug, computed: Trace, doubtful: Mapping[str, float]) -> bool:
        """Whether the bug's own rounding, measured in the other precision, allows for what is left."""
        if not doubtful:
            return True
        other = "float64" if self.dtype == "float32" else "float32"
        again = record_trace(bug.candidate(self.problem, dtype=other), self.problem, dtype=other)
        share = ROUNDING[self.dtype] / ROUNDING["float32"]
        return all(gap <= FACTOR * share * group_distance(group, again, computed) for group, gap in doubtful.items())


def _is_same(mine: np.ndarray, theirs: np.ndarray) -> bool:
    return np.array_equal(mine, theirs, equal_nan=True)


def _is_layer(group: str) -> bool:
    return group.startswith("activation/") and group != OUTPUT


def _is_unknown_state(group: str) -> bool:
    return group.startswith("state/") and not group.startswith(tuple(f"state/{kind}@" for kind in STATE_KINDS))
