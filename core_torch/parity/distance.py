"""How far one trace is from another: group by group of entries, and level by level."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from core_torch.parity.norms import (
    altered_values,
    norm,
    relative_difference,
    relative_distance,
    worst_image_distance,
)
from core_torch.parity.tolerances import LEVEL_NAMES
from core_torch.parity.trace import Trace

# A gradient of less than a twentieth of the whole's norm counts relative to that: a single bias's passes through zero,
# where its relative error has no bound.
SMALLEST_SHARE = 0.05
STATE_KINDS = ("momentum", "first_moment", "second_moment")  # which the oracle knows; of others nothing is said
INPUT, OUTPUT = "activation/input@1", "activation/output@1"
TOGETHER = ("first", "weight", "update", "state")  # kinds whose entries of a step are compared as one


@dataclass(frozen=True)
class Distance:
    """The largest difference of a level, and the entry of the trace where it is."""

    value: float
    where: str


def distances(found: Trace, truth: Trace) -> dict[str, Distance]:
    """Measure every level; infinite where an entry is missing, misshapen or NaN.

    Inputs, and optimizer state of the steps for which both have it, count where `found` shows them.
    """
    levels: dict[str, dict[str, float]] = {level: {} for level in LEVEL_NAMES}
    # Inputs need not be shown, and not every truth has edges or later outputs; elsewhere nothing to compare is no
    # agreement.
    levels |= {level: {"": 0.0} for level in ("inputs", "edges", "outputs after training")}
    last = max(steps("update", truth), default=1)
    for group in groups(truth):
        for level in levels_of(group, last=last):
            levels[level][group] = group_distance(group, found, truth)
    for group in groups(found):
        if group.startswith("gradient/") and group not in truth:
            levels["gradients"][group] = np.inf
    return {level: _largest(values) for level, values in levels.items()}


def groups(trace: Iterable[str]) -> list[str]:
    """List what is compared as one, in the order of the trace: entries, or kinds of them at a step."""
    return list(dict.fromkeys(group_of(key) for key in trace))


def group_of(key: str) -> str:
    """Name the group of an entry: "update@10", "state/momentum@10"; of other kinds the entry itself."""
    name, _, step = key.rpartition("@")
    kind, *rest = name.split("/", 2)
    if kind not in TOGETHER:
        return key
    return f"{kind}/{rest[0]}@{step}" if kind == "state" else f"{kind}@{step}"


def members(group: str, trace: Trace) -> Trace:
    """Return the entries of a group without their kind, so that two kinds can be compared: {name: array}."""
    return {key.rpartition("@")[0].partition("/")[2]: value for key, value in trace.items() if group_of(key) == group}


def levels_of(group: str, *, last: int) -> tuple[str, ...]:
    """Name the levels that a group decides; none for a hidden layer, which only a diagnosis reads."""
    kind, step = group.split("/")[0].partition("@")[0], int(group.rpartition("@")[2])
    if group in (INPUT, OUTPUT):
        return ("inputs",) if group == INPUT else ("outputs",)
    if kind == "loss":
        return ("loss", "losses") if step == 1 else ("losses",)
    if kind == "update":
        return ("one update", "trajectory") if step == last == 1 else ("one update" if step == 1 else "trajectory",)
    level = {
        "first": "one update",
        "weight": "shapes",
        "batch": "inputs",
        "objective": "loss",
        "gradient": "gradients",
        "state": "trajectory",
        "probe": "edges",
        "output": "outputs" if step == 0 else "outputs after training",
    }.get(kind)
    return (level,) if level else ()


def group_distance(group: str, found: Trace, truth: Trace) -> float:
    """Measure one group of the truth; 0 where it is one that a port need not show, and it does not."""
    kind = group.split("/")[0].partition("@")[0]
    if kind == "weight":
        return float(len(altered_weights(found, truth)))
    if kind in ("first", "update"):
        return _together(group, found, truth)
    if kind == "state":
        mine = members(group, found)
        return relative_distance(mine, members(group, truth)) if mine else 0.0
    if kind in ("loss", "objective"):
        return relative_difference(found.get(group), truth[group])
    if kind == "probe":
        return _probe_distance(group, found, truth)
    if kind == "gradient":
        if group not in found:
            return np.inf
        least = SMALLEST_SHARE * norm(entries("gradient/", int(group.rpartition("@")[2]), truth))
        return relative_distance({group: found[group]}, {group: truth[group]}, least=least)
    if kind == "batch" or group == INPUT:
        return altered_values(found[group], truth[group]) if group in found else 0.0
    if group not in found and kind == "activation" and group != OUTPUT:
        return 0.0
    return worst_image_distance(found.get(group), truth.get(group))


def _probe_distance(group: str, found: Trace, truth: Trace) -> float:
    """Measure an entry of a probe as its like is elsewhere; of a sigmoid's tail, what is beyond twice its value.

    A sigmoid by way of tanh has nothing left there in float32, and is right.
    """
    if group not in found:
        return np.inf
    _, name, kind, *_ = group.rpartition("@")[0].split("/")
    if kind == "loss":
        return relative_difference(found[group], truth[group])
    if kind == "gradient":
        least = SMALLEST_SHARE * norm(entries(f"probe/{name}/gradient/", 0, truth))
        return relative_distance({group: found[group]}, {group: truth[group]}, least=least)
    distance = worst_image_distance(found[group], truth[group])
    return max(0.0, distance - 2) if name == "tail" and not np.isnan(distance) else distance


def _together(group: str, found: Trace, truth: Trace) -> float:
    """Measure a change of all weights; that of the very first step is also the update of step 1."""
    mine = members(group, found)
    if not mine and group == "first@1":
        return 0.0
    return relative_distance(mine, members(group, truth))


def altered_weights(found: Trace, truth: Trace) -> list[str]:
    """List the parameters missing, extra, misshapen, or handed back otherwise than they were loaded."""
    mine, theirs = entries("weight/", 0, found), entries("weight/", 0, truth)
    return sorted(
        key
        for key in mine.keys() | theirs.keys()
        if key not in mine or key not in theirs or not np.array_equal(mine[key], theirs[key])
    )


def entries(prefix: str, step: int, trace: Trace) -> Trace:
    """Return those whose names begin so, of that step."""
    return {key: value for key, value in trace.items() if key.startswith(prefix) and key.endswith(f"@{step}")}


def steps(kind: str, trace: Trace) -> set[int]:
    """Return the steps of which a trace has entries of that kind."""
    return {int(key.rpartition("@")[2]) for key in trace if key.startswith((f"{kind}/", f"{kind}@"))}


def _largest(values: dict[str, float]) -> Distance:
    """Find the worst; NaN, which compares false with everything, counts as infinite."""
    worst = max(values, key=lambda key: np.inf if np.isnan(values[key]) else values[key], default="")
    value = values.get(worst, np.inf)
    return Distance(float("inf") if np.isnan(value) else float(value), worst)
