"""Problem: what every implementation is given, so that nothing but its arithmetic can differ."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from core_torch.files.splits import to_unit_range
from core_torch.parity.candidate import Arrays
from core_torch.parity.kinks import distance_to_kinks
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.architecture import Architecture, FullyConnected
from core_torch.spec.batch_order import batch_order
from core_torch.spec.errors import ConfigError
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.recipe import Recipe

TRAINING = Recipe(optimizer="adam", learning_rate=1e-3, batch_size=32)
TRAINING_STEPS = 300
# He et al. 2015 over the contract's start, for dense stacks: without it the deep model is still on its plateau after
# 300 steps, or dead. A convolutional one learns at once from where it starts.
GAIN = 6**0.5
SPARE = 8  # images to choose from, for each that a batch takes
SHORT_EVERY = 5  # steps; such a batch is short, so that a port that drops or misweighs the last of an epoch is found


class Step(NamedTuple):
    """A batch: its number, from 1; its row numbers; inputs and targets (N, pixels)."""

    number: int
    rows: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Probe:
    """Other weights, at which outputs, loss and gradients are asked without training.

    Attributes:
        outputs_only: whether loss and gradients say nothing there.
    """

    name: str
    weights: Arrays
    inputs: np.ndarray
    targets: np.ndarray
    outputs_only: bool = False


@dataclass(frozen=True)
class Problem:
    """An architecture, a recipe, weights, and the batches of every step.

    Attributes:
        inputs, targets: (P, pixels) float32 in [0, 1], from which batches take rows.
        batches: row numbers, one array a step; every fifth is short.
        rates: {step, from 1: the learning rate from that step on}; the recipe's until then.
        probes: other weights that are asked about.
    """

    name: str
    architecture: Architecture
    recipe: Recipe
    weights: Arrays
    inputs: np.ndarray
    targets: np.ndarray
    batches: list[np.ndarray] = field(default_factory=list)
    rates: dict[int, float] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()

    def steps(self) -> Iterator[Step]:
        """Every batch."""
        for number, rows in enumerate(self.batches, 1):
            yield Step(number, rows, self.inputs[rows], self.targets[rows])

    @property
    def other_batches(self) -> dict[str, np.ndarray]:
        """Name inputs of sizes that no step has: one image, and more than the largest batch."""
        largest = max((len(rows) for rows in self.batches), default=1)
        return {"single": self.inputs[-1:], "large": self.inputs[: 2 * largest + 1]}

    def first(self, steps: int) -> "Problem":
        """The same with fewer steps."""
        return replace(self, batches=self.batches[:steps])


def steps_off_kinks(problem: Problem, oracle: Callable[[], Oracle], *, steps: int, batch_size: int) -> Iterator[Step]:
    """Choose each batch, and add it to the problem, at the weights that the oracle has by then.

    A unit whose input rounds to the other side of zero, or a pool whose two largest values swap, changes a gradient
    by far more than rounding, rightly. So of eight times the images that a batch needs, those are taken that are
    farthest from any kink: there the function is smooth, and a difference is an error.
    """
    if len(problem.inputs) < SPARE * batch_size:
        raise ConfigError(f"images: found {len(problem.inputs)}, allowed: {SPARE * batch_size} or more")
    candidates = endless_batches(len(problem.inputs), SPARE * batch_size, seed=problem.recipe.seed)
    for number in range(1, steps + 1):
        rows = next(candidates)
        margins = distance_to_kinks(oracle(), problem.inputs[rows])
        count = batch_size if number % SHORT_EVERY else 3 * batch_size // 8
        problem.batches.append(rows[np.sort(np.argsort(-margins, kind="stable")[:count])])
        yield Step(number, rows := problem.batches[-1], problem.inputs[rows], problem.targets[rows])


def endless_batches(count: int, batch_size: int, *, seed: int) -> Iterator[np.ndarray]:
    """Whole batches of row numbers, epoch after epoch."""
    epoch = 0
    while True:
        yield from (rows for rows in batch_order(count, batch_size, seed=seed, epoch=epoch) if len(rows) == batch_size)
        epoch += 1


def corrupted(images: np.ndarray, recipe: Recipe) -> np.ndarray:
    """For denoising, Gaussian noise, clipped to [0, 1] and rounded to grey levels, the same for everybody."""
    if recipe.objective != "denoising":
        return images
    noise = np.random.default_rng(recipe.seed).normal(0, recipe.corruption_level, images.shape)
    return to_unit_range(np.rint(np.clip(images + noise, 0, 1) * 255).astype(np.uint8))


def trained_weights(
    architecture: Architecture, images: np.ndarray, *, seed: int = 0, dtype: type = np.float32
) -> Arrays:
    """{name: float32 array} after 300 steps of Adam in the oracle, computed in `dtype`.

    They matter: a wrong flatten order moves the outputs of a fresh convolutional model by 2e-4 and of a trained one
    by 0.97.
    """
    start = initial_weights(architecture, seed=seed)
    gain = GAIN if isinstance(architecture, FullyConnected) else 1
    scaled = {name: value * (gain if name.endswith("weight") else 1) for name, value in start.items()}
    oracle = Oracle(architecture, scaled, dtype=dtype)
    order = endless_batches(len(images), TRAINING.batch_size, seed=seed)
    OracleOptimizer(oracle, TRAINING).train(images, (next(order) for _ in range(TRAINING_STEPS)))
    return {name: value.astype(np.float32) for name, value in oracle.weights.items()}
