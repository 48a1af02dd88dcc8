"""Refuse a problem in which a unit or a weight takes no part: nothing could be said about it."""

import numpy as np

from core_torch.files.splits import to_unit_range
from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.problem import Problem
from core_torch.parity.trace import Trace
from core_torch.spec.architecture import Architecture
from core_torch.spec.errors import ConfigError
from core_torch.spec.layers import Activation, Convolution, Dense, TransposedConvolution

LEAST_SHARE = 0.5  # of the images on which a unit has to be active
REVIVED_SHARE = 0.75  # of those on which a revived one is


def check_alive(problem: Problem, truth: Trace) -> None:
    """Refuse a problem where a unit has no gradient at first, or a weight never moves.

    Raises:
        ConfigError: with the first parameter, and how many of its values are dead.
    """
    last = len(problem.batches)
    for name, value in problem.weights.items():
        moved = truth[f"update/{name}@{last}"] != 0
        if not moved.all():
            raise ConfigError(
                f"{problem.name}: {int(moved.size - moved.sum())} of {moved.size} values of {name} never move in "
                f"{last} steps, allowed: none; what is dead cannot be checked"
            )
        axis = 1 if value.ndim == 4 and name.startswith("decoder") else 0
        units = np.abs(np.moveaxis(truth[f"gradient/{name}@1"], axis, 0).reshape(value.shape[axis], -1)).max(axis=1)
        if not units.all():
            raise ConfigError(
                f"{problem.name}: {int((units == 0).sum())} of {len(units)} units of {name} have no gradient at the "
                "first step, allowed: none; what is dead cannot be checked"
            )


def revived(architecture: Architecture, weights: Arrays, images: np.ndarray) -> Arrays:
    """Raise the bias of each ReLU unit that is active on too few images; without biases turn its weights round."""
    alive = dict(weights)
    layers = Oracle(architecture, weights).layers
    for (name, layer), (_, after) in zip(layers, layers[1:]):
        is_weighted = isinstance(layer, Dense | Convolution | TransposedConvolution)
        if not (is_weighted and isinstance(after, Activation) and after.name == "relu" and f"{name}.weight" in alive):
            continue
        sums = np.moveaxis(Oracle(architecture, alive).activations(images)[name], 1, 0)
        sums = sums.reshape(len(sums), -1)
        for unit in np.flatnonzero((sums > 0).mean(axis=1) < LEAST_SHARE):
            if f"{name}.bias" in alive:
                bias = alive[f"{name}.bias"].copy()
                bias[unit] -= np.float32(np.quantile(sums[unit], 1 - REVIVED_SHARE))
                alive[f"{name}.bias"] = bias
            else:
                weight = alive[f"{name}.weight"].copy()
                weight[unit] *= -1
                alive[f"{name}.weight"] = weight
    return alive


def on_paper(images: np.ndarray, *, seed: int) -> np.ndarray:
    """Lay images on grained paper, in whole grey levels: no pixel is black on all, no two regions are equally flat."""
    grain = np.random.default_rng([seed, *images.shape]).integers(1, 64, images.shape)
    levels = np.rint(images * 191) + grain
    return to_unit_range(levels.astype(np.uint8))
