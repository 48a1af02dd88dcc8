"""How far one trace is from another, level by level, in each level's measure."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core_torch.parity.trace import Trace

# A gradient of less than a twentieth of the whole's norm counts relative to that: a single bias's passes through zero,
# where its relative error has no bound.
SMALLEST_SHARE = 0.05
INPUT, OUTPUT = "activation/input@1", "activation/output@1"


@dataclass(frozen=True)
class Distance:
    """The largest difference of a level, and the entry of the trace where it is."""

    value: float
    where: str


def distances(found: Trace, truth: Trace) -> dict[str, Distance]:
    """{level: distance}; infinite where an entry is missing, misshapen or NaN.

    Inputs, and optimizer state at the last step for which both have it, count where `found` shows them.
    """
    last = max(steps("update", truth), default=1)
    gradients = entries("gradient/", 1, truth)
    least = SMALLEST_SHARE * _norm(gradients)
    levels = {
        "shapes": {"weight": float(len(altered_weights(found, truth)))},
        "inputs": {
            key: altered_values(found[key], truth[key])
            for key in truth
            if key in found and (key == INPUT or key.startswith("batch/"))
        },
        "outputs": {OUTPUT: worst_image_distance(found.get(OUTPUT), truth.get(OUTPUT))},
        "loss": {key: relative_difference(found.get(key), truth.get(key)) for key in ("loss@1", "objective@1")},
        "gradients": {
            key: relative_distance({key: found[key]}, {key: truth[key]}, least=least) if key in found else np.inf
            for key in gradients
        },
        "one update": {"update@1": _update_distance(found, truth, step=1)},
        "trajectory": {f"update@{last}": _update_distance(found, truth, step=last)} | _state_distances(found, truth),
        "losses": {
            f"loss@{step}": relative_difference(found.get(f"loss@{step}"), truth[f"loss@{step}"])
            for step in sorted(steps("loss", truth))
        },
    }
    if entries("gradient/", 1, found).keys() != gradients.keys():
        levels["gradients"]["gradient"] = np.inf
    nothing = {"": 0.0}  # shown; of anything else, having nothing to compare is no agreement
    return {level: _largest(values or (nothing if level == "inputs" else {})) for level, values in levels.items()}


def _state_distances(found: Trace, truth: Trace) -> dict[str, float]:
    """Of each kind of optimizer state that both have."""
    common = steps("state", found) & steps("state", truth)
    if not common:
        return {}
    step = max(common)
    mine, theirs = ({key.split("/")[1] for key in entries("state/", step, trace)} for trace in (found, truth))
    return {
        f"state/{kind}@{step}": relative_distance(
            entries(f"state/{kind}/", step, found), entries(f"state/{kind}/", step, truth)
        )
        for kind in sorted(mine & theirs)
    }


def altered_weights(found: Trace, truth: Trace) -> list[str]:
    """Parameters missing, extra, misshapen, or handed back otherwise than they were loaded."""
    mine, theirs = entries("weight/", 0, found), entries("weight/", 0, truth)
    return sorted(
        key
        for key in mine.keys() | theirs.keys()
        if key not in mine or key not in theirs or not np.array_equal(mine[key], theirs[key])
    )


def altered_values(found: np.ndarray, truth: np.ndarray) -> float:
    """How many values differ, bit for bit; all of them where shapes differ."""
    flat = found.reshape(truth.shape) if found.size == truth.size else None
    return float(truth.size if flat is None else np.sum(flat != truth))


def worst_image_distance(found: np.ndarray | None, truth: np.ndarray | None) -> float:
    """The largest ||found - truth|| / ||truth|| of an image, over arrays (N, pixels)."""
    if found is None or truth is None or found.shape != truth.shape:
        return np.inf
    difference = np.linalg.norm(found.astype(np.float64) - truth, axis=1)
    scale = np.linalg.norm(truth, axis=1)
    return float(np.max(difference / np.where(scale > 0, scale, 1)))  # an empty image counts absolutely


def relative_difference(found: np.ndarray | None, truth: np.ndarray | None) -> float:
    """|found - truth| / truth of two losses."""
    if found is None or truth is None or np.size(found) != 1:
        return np.inf
    value, expected = float(np.asarray(found).item()), float(np.asarray(truth).item())
    return abs(value - expected) / expected


def relative_distance(found: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], *, least: float = 0.0) -> float:
    """||found - truth|| / max(||truth||, least) over all tensors together; infinite where names or shapes differ."""
    if {name: np.shape(array) for name, array in found.items()} != {name: array.shape for name, array in truth.items()}:
        return np.inf
    squares = sum(float(np.sum((np.asarray(found[name], np.float64) - truth[name]) ** 2)) for name in truth)
    # What should be zero counts absolutely.
    return float(np.sqrt(squares)) / (max(_norm(truth), least) or 1.0)


def _norm(arrays: Mapping[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(float(np.sum(np.asarray(array, np.float64) ** 2)) for array in arrays.values())))


def _update_distance(found: Trace, truth: Trace, *, step: int) -> float:
    if not entries("update/", step, truth):
        return np.inf
    return relative_distance(entries("update/", step, found), entries("update/", step, truth))


def entries(prefix: str, step: int, trace: Trace) -> Trace:
    """Those whose names begin so, of that step."""
    return {key: value for key, value in trace.items() if key.startswith(prefix) and key.endswith(f"@{step}")}


def steps(kind: str, trace: Trace) -> set[int]:
    """Of which a trace has entries of that kind."""
    return {int(key.rpartition("@")[2]) for key in trace if key.startswith((f"{kind}/", f"{kind}@"))}


def _largest(values: dict[str, float]) -> Distance:
    """NaN, which compares false with everything, counts as infinite."""
    worst = max(values, key=lambda key: np.inf if np.isnan(values[key]) else values[key], default="")
    value = values.get(worst, np.inf)
    return Distance(float("inf") if np.isnan(value) else float(value), worst)
