"""Do two implementations compute the same thing? Asked level by level, stopping at the first no."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.tolerances import LEVELS, Level, tolerance
from benchmarks.trial import Arrays, Trial
from core_torch.contract.architecture import Architecture
from core_torch.contract.batch_order import batch_order
from core_torch.contract.errors import ConfigError
from core_torch.contract.initial_weights import initial_weights
from core_torch.contract.oracle import Oracle
from core_torch.contract.recipe import Recipe

STEPS = 10
BATCH_SIZE = 64  # images
SHORT_BATCH = 24  # images in the tenth batch, so that a port that drops or misweighs it is found
TRAINING_STEPS = 300
TRAINING_RATE = 1.0  # a step size that gets somewhere in so few steps


@dataclass(frozen=True)
class Check:
    """One comparison; `value` and `tolerance` are in the measure of its level."""

    case: str
    framework: str
    check: str
    value: float
    tolerance: float
    passed: bool


@dataclass(frozen=True)
class Problem:
    """What every implementation is given: an architecture, weights, and ten batches of images (N, pixels)."""

    name: str
    architecture: Architecture
    weights: Arrays
    batches: list[np.ndarray]
    recipe: Recipe


def build_problem(
    name: str, architecture: Architecture, images: np.ndarray, *, recipe: Recipe, trained: bool
) -> Problem:
    """Ten batches of float32 images, and weights at the start or after 300 steps of the oracle.

    Trained weights matter: a wrong flatten order moves the outputs of a fresh convolutional model by 2e-4
    and of a trained one by 0.97.
    """
    weights = initial_weights(architecture, seed=recipe.seed)
    if trained:
        oracle = Oracle(architecture, weights, dtype=np.float32)
        epochs = -(-TRAINING_STEPS * BATCH_SIZE // len(images))
        order = [
            batch
            for epoch in range(epochs)
            for batch in batch_order(len(images), BATCH_SIZE, seed=recipe.seed, epoch=epoch)
        ]
        oracle.train(images, order[:TRAINING_STEPS], learning_rate=TRAINING_RATE, momentum=recipe.momentum)
        weights = oracle.weights
    count = (STEPS - 1) * BATCH_SIZE + SHORT_BATCH
    if len(images) < count:
        raise ConfigError(f"images: found {len(images)}, allowed: {count} or more")
    batches = [images[batch] for batch in batch_order(count, BATCH_SIZE, seed=recipe.seed)]
    return Problem(f"{name}, {'trained' if trained else 'initial'} weights", architecture, weights, batches, recipe)


@dataclass
class Trace:
    """What an implementation did with a problem: NumPy arrays in the reference's names and layout."""

    shapes: dict[str, tuple[int, ...]]
    outputs: np.ndarray
    loss: float
    gradients: Arrays
    one_update: Arrays
    ten_updates: Arrays


def trace_of(candidate: Trial, problem: Problem) -> Trace:
    """Run a candidate through a problem."""
    candidate.load(problem.weights)
    first = problem.batches[0]
    outputs = np.array(candidate.predict(first))
    loss, live = candidate.loss_and_gradients(first, first)
    gradients = {name: np.array(array) for name, array in live.items()}  # before a step overwrites them
    shapes = {name: array.shape for name, array in candidate.weights().items()}
    candidate.step(first, first)
    one_update = _difference(candidate.weights(), problem.weights)  # before a step overwrites it
    for batch in problem.batches[1:]:
        candidate.step(batch, batch)
    return Trace(
        shapes, outputs, loss, gradients, one_update, _difference(candidate.weights(), problem.weights)
    )


class OracleTrial:
    """The oracle as a candidate, so that judge, float32 budget and frameworks go through the same door."""

    def __init__(self, problem: Problem, *, dtype: type = np.float64) -> None:
        self.oracle = Oracle(problem.architecture, problem.weights, dtype=dtype)
        self.recipe = problem.recipe

    def load(self, weights: Arrays) -> None:
        """See `Trial`."""
        self.oracle = Oracle(self.oracle.architecture, weights, dtype=self.oracle.dtype)

    def weights(self) -> Arrays:
        """See `Trial`."""
        return dict(self.oracle.weights)

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """See `Trial`."""
        return self.oracle.activations(inputs)["output"]

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """See `Trial`."""
        return self.oracle.gradients(inputs, targets)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """See `Trial`."""
        rate, momentum = self.recipe.learning_rate, self.recipe.momentum
        return self.oracle.step(inputs, targets, learning_rate=rate, momentum=momentum)

    def epoch(self, epoch: int) -> int:
        """Not timed, so it has no data of its own."""
        raise NotImplementedError


class Judge:
    """The float64 trace of a problem and the float32 budget around it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.truth = trace_of(OracleTrial(problem), problem)
        rounded = trace_of(OracleTrial(problem, dtype=np.float32), problem)
        self.budget = distances(rounded, self.truth)

    def check(self, candidate: Trial, framework: str) -> list[Check]:
        """The levels in order, up to and including the first that fails."""
        try:
            found = distances(trace_of(candidate, self.problem), self.truth)
        except (LookupError, ValueError, TypeError, RuntimeError) as error:
            # A candidate that cannot even be run on these arrays disagrees about their shapes.
            return [Check(f"{self.problem.name} ({error})", framework, LEVELS[0].name, float("inf"), 0.0, False)]
        checks = []
        for level in LEVELS:
            checks.append(self._judge(level, found[level.name], framework))
            if not checks[-1].passed:
                break
        return checks

    def _judge(self, level: Level, value: float, framework: str) -> Check:
        limit = tolerance(level, self.budget[level.name]) if level.ceiling else 0.0
        # Written so that NaN, which compares false with everything, does not pass.
        return Check(self.problem.name, framework, level.name, value, limit, bool(value <= limit))


def distances(trace: Trace, truth: Trace) -> dict[str, float]:
    """{level: distance} in each level's measure; infinite where names or shapes differ."""
    wrong = trace.shapes.items() ^ truth.shapes.items()
    return {
        "shapes": float(len({name for name, _ in wrong})),
        "outputs": _largest(trace.outputs, truth.outputs),
        "loss": abs(trace.loss - truth.loss) / truth.loss,
        "gradients": worst_tensor_distance(trace.gradients, truth.gradients),
        "one update": relative_distance(trace.one_update, truth.one_update),
        "ten updates": relative_distance(trace.ten_updates, truth.ten_updates),
    }


def relative_distance(found: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]) -> float:
    """||found - truth|| / ||truth|| over all tensors together; infinite where names or shapes differ."""
    if {name: array.shape for name, array in found.items()} != {name: array.shape for name, array in truth.items()}:
        return float("inf")
    squares = sum(float(np.sum((np.asarray(found[name], np.float64) - truth[name]) ** 2)) for name in truth)
    scale = sum(float(np.sum(truth[name] ** 2)) for name in truth)
    # A tensor that should be zero counts absolutely.
    return float(np.sqrt(squares / (scale or 1.0)))


def worst_tensor_distance(found: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]) -> float:
    """The largest relative distance of a single tensor."""
    if found.keys() != truth.keys():
        return float("inf")
    # NumPy's maximum: Python's would pass over a NaN that is not the first.
    return float(np.max([relative_distance({name: found[name]}, {name: truth[name]}) for name in truth]))


def _largest(found: np.ndarray, truth: np.ndarray) -> float:
    if found.shape != truth.shape:
        return float("inf")
    return float(np.abs(np.asarray(found, np.float64) - truth).max())


def _difference(after: Arrays, before: Arrays) -> Arrays:
    return {name: np.asarray(after[name], np.float64) - before[name] for name in before}


def agree(checks: Sequence[Check]) -> bool:
    """Whether every level was reached and passed."""
    return bool(checks) and all(check.passed for check in checks)


