"""Measures: how far an answer is from the truth, per tensor, and to which level each answer belongs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from core_torch.parity.recorded.questions import Trace, is_output

LEVELS = (
    "shapes",
    "inputs",
    "outputs",
    "layers",
    "loss",
    "gradients",
    "one update",
    "buffers",
    "optimizer state",
    "trajectory",
    "losses",
    "outputs after training",
)
EXACT = ("shapes", "inputs")  # levels at which nothing may differ


@dataclass(frozen=True)
class Group:
    """The answers of one kind about one tensor, over all batches that were asked.

    They share a budget: a single float32 run can be lucky on one batch, hardly on all.
    """

    kind: str  # of the trace's keys: gradient, first, update, ...
    name: str  # of a parameter, buffer or layer

    @property
    def key(self) -> str:
        """As budgets and messages call it."""
        return f"{self.kind}/{self.name}" if self.name else self.kind


def group_of(key: str) -> Group:
    """Find the group of a trace's key: gradient/head.weight@2 is one of gradient/head.weight."""
    kind, _, name = key.rpartition("@")[0].partition("/")
    return Group(kind, name)


def level_of(group: Group, *, buffers: Iterable[str]) -> str:
    """Say at which level a group is compared."""
    match group.kind:
        case "weight":
            return "shapes"
        case "activation" if group.name == "input":
            return "inputs"
        case "activation":
            return "outputs" if is_output(group.name) else "layers"
        case "objective":
            return "loss"
        case "gradient":
            return "gradients"
        case "first" if group.name in buffers:
            return "buffers"
        case "first":
            return "one update"
        case "update":
            return "trajectory"
        case "state":
            return "optimizer state"
        case "loss":
            return "losses"
        case _:
            return "outputs after training"


def group_keys(trace: Trace) -> dict[Group, list[str]]:
    """{group: its keys}, in the order of the trace."""
    groups: dict[Group, list[str]] = {}
    for key in trace:
        groups.setdefault(group_of(key), []).append(key)
    return groups


def relative_error(found: Mapping[str, np.ndarray], truth: Trace, keys: list[str]) -> float:
    """Measure the worst error of a group over its keys, relative to the size of the truth.

    Outputs and layers are measured by the worst sample, so that one wrong sample among many is found. Infinite where
    an answer is missing, has another shape or is not finite.
    """
    if any(key not in found or np.shape(found[key]) != truth[key].shape for key in keys):
        return np.inf
    measure = _sample_error if group_of(keys[0]).kind in ("activation", "final") else _tensor_error
    errors = [measure(np.asarray(found[key], np.float64), truth, keys, key) for key in keys]
    return max(errors) if np.isfinite(errors).all() else np.inf


def _sample_error(found: np.ndarray, truth: Trace, keys: list[str], key: str) -> float:
    """The largest ||found - truth|| of a sample, relative to the root mean square of ||truth|| over samples."""
    rows = truth[key].reshape(len(truth[key]), -1) if truth[key].ndim else truth[key].reshape(1, 1)
    norms = np.linalg.norm(found.reshape(rows.shape) - rows, axis=1)
    return float(norms.max(initial=0.0)) / (norm(rows) / np.sqrt(max(len(rows), 1)) or 1.0)


def _tensor_error(found: np.ndarray, truth: Trace, keys: list[str], key: str) -> float:
    """||found - truth|| / ||truth||.

    A gradient or a loss can pass near zero at one batch, so it counts relative to the largest of its group.
    """
    others = keys if group_of(key).kind in ("gradient", "objective", "loss") else [key]
    return norm(found - truth[key]) / (max(norm(truth[other]) for other in others) or 1.0)


def norm(array: np.ndarray) -> float:
    """The Euclidean norm over all elements, in float64."""
    return float(np.linalg.norm(np.asarray(array, np.float64)))
