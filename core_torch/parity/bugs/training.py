"""Bugs that show over several steps: the learning rate's course, batches, and what is left over from before."""

from collections.abc import Callable

import numpy as np

from core_torch.parity.bugs.bug import Bug, BuggyCandidate
from core_torch.parity.bugs.places import is_dense
from core_torch.parity.bugs.steps import rate_off
from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.optimizer import OracleOptimizer


class Batches(OracleOptimizer):
    """Know the size of this batch, and of the largest so far."""

    batch = full_batch = 0  # images; `batch` is set before every step

    def apply(self, gradients: Arrays) -> None:
        """Remember the largest batch."""
        self.full_batch = max(self.full_batch, self.batch)
        super().apply(gradients)


class ShortBatchDropped(Batches):
    """Skip a batch that is smaller than another was."""

    def apply(self, gradients: Arrays) -> None:
        """Step, or do nothing."""
        if self.batch >= self.full_batch:
            super().apply(gradients)


class ShortBatchWeighedAsFull(Batches):
    """Divide every sum by the size of a full batch."""

    def apply(self, gradients: Arrays) -> None:
        """Take the share that is there."""
        share = self.oracle.dtype(self.batch / max(self.batch, self.full_batch))
        super().apply({name: share * gradient for name, gradient in gradients.items()})


class Accumulating(OracleOptimizer):
    """Add every gradient to all before it."""

    def apply(self, gradients: Arrays) -> None:
        """Step by the sum so far."""
        before = getattr(self, "sums", dict.fromkeys(gradients, 0))
        self.sums = {name: before[name] + gradient for name, gradient in gradients.items()}
        super().apply(self.sums)


class OneBehind(OracleOptimizer):
    """Apply each step's gradient at the next."""

    def apply(self, gradients: Arrays) -> None:
        """Step by the gradient before this one."""
        self.pending, gradients = gradients, getattr(self, "pending", {})
        super().apply(gradients)


class EverySecond(OracleOptimizer):
    """Step at every second batch, by the mean of two gradients."""

    def apply(self, gradients: Arrays) -> None:
        """Wait for the second."""
        before, self.waiting = getattr(self, "waiting", None), gradients
        if before is not None:
            half = self.oracle.dtype(0.5)
            self.waiting = None  # type: ignore[assignment]
            super().apply({name: half * (before[name] + value) for name, value in gradients.items()})


def rate_by(course: Callable[[int, float, float], float]) -> type[OracleOptimizer]:
    """Make the rate a function of the step, from 1, of the first rate and of the present one."""

    class OtherCourse(OracleOptimizer):
        def apply(self, gradients: Arrays) -> None:
            given = self.learning_rate
            self.learning_rate = course(self.steps + 1, self.recipe.learning_rate, given)
            super().apply(gradients)
            self.learning_rate = given

    return OtherCourse


class RateLate(OracleOptimizer):
    """Follow a change of the rate one step late."""

    def apply(self, gradients: Arrays) -> None:
        """Step by the rate of the step before."""
        given = self.learning_rate
        self.learning_rate, self.before = getattr(self, "before", given), given
        super().apply(gradients)
        self.learning_rate = given


class StaleWeights(BuggyCandidate):
    """Hand out the weights as they were before the last step."""

    def load(self, weights: Arrays) -> None:
        """Forget them."""
        super().load(weights)
        self.before = dict(self.oracle.weights)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Keep them."""
        self.before = dict(self.oracle.weights)
        return super().step(inputs, targets)

    def weights(self) -> Arrays:
        """Hand out the old ones."""
        return dict(self.before)


class LeftOver(BuggyCandidate):
    """Leave the gradients of a question in place, so that the next step adds to them."""

    left: Arrays

    def load(self, weights: Arrays) -> None:
        """Load weights, which does not touch gradients."""
        super().load(weights)
        self.left = getattr(self, "left", {})

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Leave them, in place of those that an earlier question left."""
        self.left = {}
        loss, gradients = super().loss_and_gradients(inputs, targets)
        self.left = dict(gradients)
        return loss, gradients

    def spoilt(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Add what is left, once."""
        loss, gradients = super().spoilt(inputs, targets)
        left, self.left = self.left, {}
        return loss, {name: value + left.get(name, 0) for name, value in gradients.items()}


class LossLate(BuggyCandidate):
    """Return the loss after the step."""

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Compute it again."""
        super().step(inputs, targets)
        return self.spoilt(inputs, targets)[0]


class LossAveraged(BuggyCandidate):
    """Return the mean of all losses since loading."""

    def load(self, weights: Arrays) -> None:
        """Start again."""
        super().load(weights)
        self.losses: list[float] = []

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Return the running mean."""
        self.losses.append(super().step(inputs, targets))
        return float(np.mean(self.losses))


def shown_otherwise(change: Callable[[float, int], float]) -> type[BuggyCandidate]:
    """Make a port that reports another loss of a step than it trains by, from the loss and the batch size."""

    class ShownOtherwise(BuggyCandidate):
        def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
            return change(super().step(inputs, targets), len(inputs))

    return ShownOtherwise


def trained_on(choose: Callable[[np.ndarray], np.ndarray]) -> type[BuggyCandidate]:
    """Make a port that trains on other images of each batch than those it is given."""

    class TrainedOnOthers(BuggyCandidate):
        def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
            return super().step(choose(inputs), choose(targets))

    return TrainedOnOthers


class ShortBatchPadded(BuggyCandidate):
    """Fill a short batch with black images."""

    largest = 0

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Add them."""
        self.largest = max(self.largest, len(inputs))
        missing = ((0, self.largest - len(inputs)), (0, 0))
        return super().step(np.pad(inputs, missing), np.pad(targets, missing))


class FirstBatchForever(BuggyCandidate):
    """Train on the first batch again and again."""

    def load(self, weights: Arrays) -> None:
        """Forget it."""
        super().load(weights)
        self.kept: tuple[np.ndarray, np.ndarray] | None = None

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Use the first."""
        self.kept = self.kept or (inputs, targets)
        return super().step(*self.kept)


def dropped_units(inputs: np.ndarray) -> np.ndarray:
    """Set every fifth pixel to 0 and scale the others up, as dropout does on average."""
    kept = inputs * inputs.dtype.type(1.25)
    kept[:, ::5] = 0
    return kept


class DropoutInTraining(BuggyCandidate):
    """Drop pixels while training."""

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Drop every fifth."""
        return super().step(dropped_units(inputs), targets)


TRAINING_BUGS: dict[str, Bug] = {
    "weights stale": Bug("weights are handed out as before the step", port=StaleWeights),
    "gradients one step behind": Bug("each step uses the gradient of the step before", optimizer=OneBehind),
    "gradients accumulate": Bug("gradients are never set back to zero", optimizer=Accumulating),
    "gradients left over": Bug(
        "gradients that `loss_and_gradients` left are added to those of the next step", port=LeftOver
    ),
    "every second step": Bug("steps are taken at every second batch", optimizer=EverySecond),
    "rate never changes": Bug(
        "the change of the learning rate is missed", optimizer=rate_by(lambda step, first, now: first)
    ),
    "rate changes late": Bug("a change of the learning rate comes one step late", optimizer=RateLate),
    "rate changes less": Bug(
        "a change of the learning rate goes half of the way",
        optimizer=rate_by(lambda step, first, now: (first + now) / 2),
    ),
    "rate changes twice": Bug(
        "a change of the learning rate is applied to the changed one again",
        optimizer=rate_by(lambda step, first, now: now * now / first),
    ),
    "rate decays": Bug("the learning rate decays by 1 % a step", optimizer=rate_off(decay=0.99)),
    "rate decays slowly": Bug("the learning rate decays by 0.1 % a step", optimizer=rate_off(decay=0.999)),
    "rate warms up": Bug(
        "the learning rate rises over the first five steps",
        optimizer=rate_by(lambda step, first, now: now * min(1.0, step / 5)),
    ),
    "rate falls as a cosine": Bug(
        "the learning rate follows a cosine over 100 steps",
        optimizer=rate_by(lambda step, first, now: now * 0.5 * (1 + float(np.cos(np.pi * (step - 1) / 100)))),
    ),
    "short batch dropped": Bug("the last, short batch is dropped", optimizer=ShortBatchDropped),
    "short batch weighed as full": Bug(
        "the error is divided by the full batch size", optimizer=ShortBatchWeighedAsFull
    ),
    "short batch padded": Bug("a short batch is filled with black images", port=ShortBatchPadded),
    "last image dropped": Bug("the last image of each batch is not trained on", port=trained_on(lambda x: x[:-1])),
    "first image twice": Bug(
        "the last image of each batch is replaced by the first",
        port=trained_on(lambda x: np.concatenate([x[:-1], x[:1]])),
    ),
    "first batch forever": Bug("every step uses the first batch", port=FirstBatchForever),
    "dropout": Bug("training drops a fifth of the pixels", port=DropoutInTraining, needs=is_dense),
    "loss after the step": Bug("a step returns the loss after it", port=LossLate),
    "loss averaged": Bug("a step returns the mean of all losses so far", port=LossAveraged),
    "loss of a step summed": Bug(
        "a step returns the loss times the batch size", port=shown_otherwise(lambda loss, count: loss * count)
    ),
    "loss of a step halved": Bug("a step returns half of the loss", port=shown_otherwise(lambda loss, count: loss / 2)),
}
