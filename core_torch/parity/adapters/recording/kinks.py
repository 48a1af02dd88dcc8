"""Batches at which rounding flips no ReLU and no maximum, so that right ports cannot part there by chance."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from core_torch.parity.adapters.torch import TorchCandidate
from core_torch.parity.candidate import Arrays
from core_torch.parity.recorded.trees import Tree, cast_floats

JITTER = 1e-6  # relative change of every weight: ten roundings of float32
DRAWS = 3  # changes that are tried at each batch
SENSITIVE = 3e-4  # relative change of a gradient that only a flipped unit makes
SMALLEST_SHARE = 0.05  # of the whole gradient's norm, to which a small tensor's change counts relative
FEWEST_BATCHES = 3


class Sensitivity:
    """How far gradients move when weights are changed by a few roundings, in float64."""

    def __init__(self, candidate: TorchCandidate[nn.Module], weights: Arrays) -> None:
        self.candidate = candidate
        self.start = cast_floats(weights, "float64")
        self.generator = np.random.default_rng(0)

    def at(self, weights: Arrays, batch: tuple[Tree, Tree]) -> float:
        """The largest relative change of a tensor's gradient at a batch, over some draws."""
        exact = self._gradients(weights, batch)
        norms = {name: np.linalg.norm(gradient) for name, gradient in exact.items()}
        least = SMALLEST_SHARE * np.sqrt(sum(size**2 for size in norms.values())) or 1.0
        changes = []
        for _ in range(DRAWS):
            moved = self._gradients({name: self._jittered(value) for name, value in weights.items()}, batch)
            changes += [np.linalg.norm(moved[name] - exact[name]) / max(norms[name], least) for name in exact]
        return float(np.max(changes))

    def _jittered(self, value: np.ndarray) -> np.ndarray:
        return value * (1 + JITTER * self.generator.standard_normal(value.shape))

    def _gradients(self, weights: Arrays, batch: tuple[Tree, Tree]) -> Arrays:
        self.candidate.load(weights)
        return self.candidate.loss_and_gradients(*batch)[1]


def steady_batches(
    candidate: TorchCandidate[nn.Module], weights: Arrays, batches: Sequence[tuple[Tree, Tree]]
) -> tuple[list[int], list[int]]:
    """Choose the batches of the steps, and put those that suit single steps from the start in order.

    A batch at which a unit is about to flip is left out of the steps, unless too few would remain.

    Returns:
        Indices of the batches to train on; and their positions in that list, steadiest first.
    """
    exact = [(cast_floats(inputs, "float64"), cast_floats(targets, "float64")) for inputs, targets in batches]
    sensitivity = Sensitivity(candidate, weights)
    kept: list[int] = []
    current = sensitivity.start
    candidate.load(current)
    optimizer = candidate.optimizer
    for index, batch in enumerate(exact):
        if sensitivity.at(current, batch) > SENSITIVE:
            continue
        candidate.load(current)
        candidate.optimizer = optimizer  # keeps its momentum from step to step
        candidate.step(*batch)
        current = candidate.weights()
        kept.append(index)
    if len(kept) < min(FEWEST_BATCHES, len(exact)):
        kept = list(range(len(exact)))
    scores = [sensitivity.at(sensitivity.start, exact[index]) for index in kept]
    return kept, [int(place) for place in np.argsort(scores, kind="stable")]
