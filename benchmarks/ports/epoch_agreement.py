"""Whether a whole epoch, by the very variant that is timed, is the same work as the oracle's."""

from functools import cached_property

import numpy as np

from benchmarks.ports.frameworks import BASELINE, ONE_SHUFFLE
from benchmarks.ports.timed_port import Case, TimedPort
from core_torch.files.splits import Split, to_unit_range
from core_torch.parity.candidate import Arrays
from core_torch.parity.judge import Check
from core_torch.parity.norms import relative_distance
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.tolerances import (
    BITWISE,
    EPOCH,
    OWN_SHUFFLE,
    SAME_IMAGES,
    Level,
    epoch_tolerance,
    shuffle_tolerance,
)
from core_torch.spec.architecture import architecture_named
from core_torch.spec.batch_order import batch_order
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.recipe import Recipe

ERROR_IMAGES = 1000  # over which the error after an epoch is taken
SECOND_LOOKS = 8  # float32 epochs at most, each of which sees what half of all programs see with probability 1/2
OTHER_SHUFFLES = 4
TARGET_STEPS = 5  # between two looks at whether the target is reached


class EpochReference:
    """The oracle's epoch 0 from the contract's weights, in float64, and in float32 for the budget.

    Args:
        name: of the case, as tables print it.
        split: what the contenders are timed on.
    """

    def __init__(self, name: str, model: str, split: Split, recipe: Recipe) -> None:
        self.name, self.recipe = name, recipe
        self.images = rows(split)
        self.architecture = architecture_named(model)
        self.start = initial_weights(self.architecture, seed=recipe.seed)
        oracle, rounded = self._run(np.float64), self._run(np.float32)
        self.images_to_target = self._images_to_target()
        self.truth = self._change(oracle.weights)
        self.budget = relative_distance(self._change(rounded.weights), self.truth)
        self.error = self._error_of(oracle)
        self.reference: Arrays = {}

    def check(self, trial: TimedPort, case: Case) -> list[Check]:
        """Run the trial's epoch 0 and compare: where the shuffle is ours weight by weight, else by the error."""
        trial.load(self.start)
        seen = trial.epoch(0)
        if seen != len(self.images):
            return [self._check(case, SAME_IMAGES, abs(seen - len(self.images)), 0.0)]
        if case.variant not in ONE_SHUFFLE:
            error = self._error_of(trial)
            return [self._check(case, OWN_SHUFFLE, abs(error / self.error - 1), shuffle_tolerance(self._spread))]
        weights = trial.weights()
        distance = relative_distance(self._change(weights), self.truth)
        self._look_again(distance)
        checks = [self._check(case, EPOCH, distance, epoch_tolerance(self.budget))]
        if (case.framework, case.variant) == BASELINE:
            self.reference = weights
        if case.framework == "lightning" and case.device == "cpu" and self.reference:
            differing = sum(int(np.sum(weights[name] != self.reference[name])) for name in weights)
            checks.append(self._check(case, BITWISE, differing, 0.0))
        return checks

    @cached_property
    def _spread(self) -> float:
        """The largest relative difference between the error after the contract's epoch and after some others'."""
        found = []
        for other in range(1, 1 + OTHER_SHUFFLES):
            oracle = self._run(np.float32, seed=self.recipe.seed + other)
            found.append(abs(self._error_of(oracle) / self.error - 1))
        return max(found)

    def _look_again(self, distance: float) -> None:
        """Before `distance` is called too large: what else rounding alone does to this epoch.

        Among millions of ReLU inputs one may be zero to rounding, and half of all right programs take it for
        positive. The same float32 epoch with the images of each batch in other orders, hence summed in other
        orders, finds that out.
        """
        generator = np.random.default_rng(self.recipe.seed)
        for _ in range(SECOND_LOOKS):
            if distance <= epoch_tolerance(self.budget):
                return
            rounded = self._change(self._run(np.float32, generator).weights)
            self.budget = max(self.budget, relative_distance(rounded, self.truth))

    def _run(self, dtype: type, generator: np.random.Generator | None = None, *, seed: int | None = None) -> Oracle:
        """The epoch; `generator` puts the images of a batch in another order, `seed` all of them."""
        oracle, seed = Oracle(self.architecture, self.start, dtype=dtype), self.recipe.seed if seed is None else seed
        order = batch_order(len(self.images), self.recipe.batch_size, seed=seed, epoch=0)
        if generator is not None:
            order = (generator.permutation(batch) for batch in order)
        OracleOptimizer(oracle, self.recipe).train(self.images, order)
        return oracle

    def _images_to_target(self) -> int | None:
        """After how many images of epoch 0 the error is below the mean image's, the best that a constant reaches."""
        oracle = Oracle(self.architecture, self.start, dtype=np.float32)
        optimizer, seen = OracleOptimizer(oracle, self.recipe), 0
        target = float(np.var(self.images[:ERROR_IMAGES], axis=0, dtype=np.float64).mean())
        order = batch_order(len(self.images), self.recipe.batch_size, seed=self.recipe.seed, epoch=0)
        for number, batch in enumerate(order, 1):
            optimizer.step(self.images[batch], self.images[batch])
            seen += len(batch)
            if number % TARGET_STEPS == 0 and self._error_of(oracle) < target:
                return seen
        return None

    def _error_of(self, model: Oracle | TimedPort) -> float:
        judged = self.images[:ERROR_IMAGES]
        return float(np.mean((model.activations(judged)["output"] - judged) ** 2))

    def _change(self, weights: Arrays) -> Arrays:
        return {name: np.asarray(weights[name], np.float64) - self.start[name] for name in self.start}

    def _check(self, case: Case, level: Level, value: float, limit: float) -> Check:
        framework = f"{case.framework}/{case.variant}"
        return Check(self.name, framework, level.name, float(value), limit, bool(value <= limit))


def rows(split: Split) -> np.ndarray:
    """(N, pixels) float32 in [0, 1]."""
    return to_unit_range(split.images).reshape(len(split), -1)
