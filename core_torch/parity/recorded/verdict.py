"""Verdict: every level of a comparison, from the answers of a candidate."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from core_torch.parity.recorded.measures import EXACT, LEVELS, Group, group_keys, level_of, relative_error
from core_torch.parity.recorded.parts import split_parts
from core_torch.parity.recorded.questions import Trace
from core_torch.parity.recorded.reference import Reference
from core_torch.parity.tolerances import FACTOR, FLOOR_ROUNDINGS, ROUNDING


@dataclass(frozen=True)
class Entry:
    """One tensor at one level: the relative error found, and the largest that passes."""

    key: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the error is within its limit; NaN is not."""
        return bool(self.value <= self.limit)

    @property
    def excess(self) -> float:
        """Error over limit; above 1 fails."""
        return self.value / self.limit if self.limit else (np.inf if self.value else 0.0)


@dataclass(frozen=True)
class LevelVerdict:
    """One level: all of its entries, and names that are missing or unexpected."""

    level: str
    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every entry is within its limit and no name is wrong."""
        return not self.problems and all(entry.passed for entry in self.entries)

    @property
    def worst(self) -> Entry | None:
        """The entry nearest to its limit, or farthest beyond it; of layers, the first that parts."""
        if self.level == "layers":
            parted = [entry for entry in self.entries if not entry.passed]
            if parted:
                return parted[0]
        return max(self.entries, key=lambda entry: entry.excess, default=None)


@dataclass(frozen=True)
class Verdict:
    """All levels of one comparison.

    Attributes:
        levels: in the order of the ladder, those that were asked.
        answers: the candidate's trace, packed tensors in their parts.
        limits: {key of the trace: largest relative error}.
    """

    reference: Reference
    candidate: str
    levels: tuple[LevelVerdict, ...]
    answers: Trace = field(repr=False)
    limits: dict[str, float] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether every level passed."""
        return all(level.passed for level in self.levels)

    @property
    def first_failed(self) -> LevelVerdict | None:
        """The first level that did not pass."""
        return next((level for level in self.levels if not level.passed), None)

    @property
    def first_parted_layer(self) -> str | None:
        """The first layer, in the order in which they run, whose output differs."""
        layers = next((level for level in self.levels if level.level == "layers"), None)
        worst = layers.worst if layers and not layers.passed else None
        return worst.key.removeprefix("activation/") if worst else None


def judge(
    reference: Reference,
    answers: Mapping[str, np.ndarray],
    *,
    candidate: str,
    dtype: str = "float32",
    levels: Iterable[str] = LEVELS,
) -> Verdict:
    """Compare a candidate's answers with the truth, at every level that is asked."""
    found = split_parts(answers, reference.parts)
    groups = group_keys(reference.truth)
    wanted = [level for level in LEVELS if level in set(levels)]
    by_level: dict[str, list[Group]] = {level: [] for level in wanted}
    for group in groups:
        level = level_of(group, buffers=reference.buffers)
        if (
            level in by_level
            and group.key not in reference.left_out
            and _is_asked(level, groups[group], found, reference.truth)
        ):
            by_level[level].append(group)
    limits = {group.key: limit_of(reference, group, dtype=dtype) for group in groups}
    verdicts = [
        LevelVerdict(
            level,
            tuple(
                Entry(group.key, relative_error(found, reference.truth, groups[group]), limits[group.key])
                for group in _in_order(by_level[level], level, reference)
            ),
            _naming_problems(level, found, reference),
        )
        for level in wanted
    ]
    by_key = {key: limits[group.key] for group, keys in groups.items() for key in keys}
    return Verdict(reference, candidate, tuple(verdicts), found, by_key)


def limit_of(reference: Reference, group: Group, *, dtype: str) -> float:
    """The largest relative error that passes: some times the budget; 0 where nothing may differ."""
    if level_of(group, buffers=reference.buffers) in EXACT:
        return 0.0
    floor = FLOOR_ROUNDINGS * ROUNDING["float32"]
    share = ROUNDING[dtype] / ROUNDING["float32"]
    return max(floor, FACTOR * reference.budget.get(group.key, 0.0)) * share


def _is_asked(level: str, keys: list[str], found: Trace, truth: Trace) -> bool:
    """Layers, inputs and optimizer state count where the candidate shows them; the rest must be there.

    A layer of another shape is another layer of the same name, which proves nothing.
    """
    if level == "layers":
        return all(key in found and np.shape(found[key]) == truth[key].shape for key in keys)
    return level not in ("inputs", "optimizer state") or all(key in found for key in keys)


def _in_order(groups: list[Group], level: str, reference: Reference) -> list[Group]:
    if level != "layers":
        return groups
    place = {name: index for index, name in enumerate(reference.layers)}
    return sorted(groups, key=lambda group: place.get(group.name, len(place)))


def _naming_problems(level: str, found: Trace, reference: Reference) -> tuple[str, ...]:
    """Name what is missing and what nobody asked for, apart."""
    kind = {"shapes": "weight", "gradients": "gradient"}.get(level)
    if kind is None:
        return ()
    mine, theirs = ({key for key in trace if key.startswith(f"{kind}/")} for trace in (found, reference.truth))
    texts = []
    for text, keys in (("missing", theirs - mine), ("unexpected", mine - theirs)):
        names = sorted({key.removeprefix(f"{kind}/").rpartition("@")[0] for key in keys})
        names = [name for name in names if f"{kind}/{name}" not in reference.left_out]
        if names:
            texts.append(f"{text}: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}")
    return tuple(texts)
