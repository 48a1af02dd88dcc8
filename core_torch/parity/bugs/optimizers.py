"""Optimizers that are wrong in one way each; see `bugs`."""

import numpy as np

from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.recipe import ADAM_BETAS, Recipe


class Remembering(OracleOptimizer):
    """Knows the learning rate it started with, and the size of the batches."""

    batch = full_batch = 0  # images; `batch` is set before every step

    def __init__(self, oracle: Oracle, recipe: Recipe) -> None:
        super().__init__(oracle, recipe)
        self.first_rate = recipe.learning_rate

    def apply(self, gradients: Arrays) -> None:
        """Remember the largest batch."""
        self.full_batch = max(self.full_batch, self.batch)
        super().apply(gradients)


class PenaltyDoubled(OracleOptimizer):
    """Counts the contractive penalty twice."""

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """As the oracle's at twice the weight."""
        return self.oracle.gradients(inputs, targets, contraction=2 * self.contraction)


class PenaltyNotSquared(OracleOptimizer):
    """Takes the root of the mean squared norm."""

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """d sqrt(p) = dp / (2 sqrt(p))."""
        error, plain = self.oracle.gradients(inputs, targets)
        both, whole = self.oracle.gradients(inputs, targets, contraction=self.contraction)
        root = np.sqrt((both - error) / self.contraction)
        share = 1 / (2 * root)
        loss = error + self.contraction * root
        return float(loss), {
            name: (plain[name] + share * (whole[name] - plain[name])).astype(self.oracle.dtype) for name in plain
        }


def rate_off(factor: float = 1.0, *, decay: float = 1.0) -> type[OracleOptimizer]:
    """Steps `factor` times as far, and with every step `decay` times that."""

    class RateOff(OracleOptimizer):
        def direction(self, name: str, gradient: np.ndarray) -> np.ndarray:
            return self.oracle.dtype(factor * decay ** (self.steps - 1)) * super().direction(name, gradient)

    return RateOff


class DecayInGradient(OracleOptimizer):
    """L2 regularization that nobody asked for."""

    decay = 1e-3

    def descend(self, name: str, gradient: np.ndarray) -> None:
        """With the decay's gradient."""
        super().descend(name, gradient + self.oracle.dtype(self.decay) * self.oracle.weights[name])


class DecayCoupled(OracleOptimizer):
    """Adam with L2 where AdamW decouples it."""

    def descend(self, name: str, gradient: np.ndarray) -> None:
        """As Adam's, of a gradient that has the decay in it."""
        weights = self.oracle.weights
        direction = self.adam(name, gradient + self.oracle.dtype(self.recipe.weight_decay) * weights[name])
        weights[name] = weights[name] - self.oracle.dtype(self.learning_rate) * direction


def leaving(part: str) -> type[OracleOptimizer]:
    """Leaves parameters alone that have this in their names."""

    class Leaving(OracleOptimizer):
        def descend(self, name: str, gradient: np.ndarray) -> None:
            if part not in name:
                super().descend(name, gradient)

    return Leaving


class Stale(OracleOptimizer):
    """Applies each step's update at the next."""

    def apply(self, gradients: Arrays) -> None:
        """The update before this one."""
        self.pending, gradients = gradients, getattr(self, "pending", {})
        super().apply(gradients)


class Dampened(OracleOptimizer):
    """v <- m v + (1 - m) g."""

    def accelerate(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """Of a share of the gradient."""
        return super().accelerate(name, self.oracle.dtype(1 - self.recipe.momentum) * gradient)


class Uncorrected(OracleOptimizer):
    """Adam as if its moments had not begun at zero."""

    def adam(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """At a step so late that the corrections are 1."""
        steps, self.steps = self.steps, 10**9
        direction = super().adam(name, gradient)
        self.steps = steps
        return direction


class EpsilonBeforeCorrection(OracleOptimizer):
    """sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)."""

    def adam(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """By raising the epsilon that is added after the correction."""
        recipe = self.recipe
        self.recipe = recipe.with_changes(epsilon=min(1.0, recipe.epsilon / np.sqrt(1 - ADAM_BETAS[1] ** self.steps)))
        direction = super().adam(name, gradient)
        self.recipe = recipe
        return direction


class RateInVelocity(Remembering):
    """v <- m v + rate g, w <- w - v."""

    def accelerate(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """In units of the present rate, as `descend` multiplies by it again."""
        rate = self.learning_rate
        key = f"momentum/{name}"
        velocity = self.recipe.momentum * self.state.get(key, np.zeros_like(gradient)) + rate * gradient
        self.state[key] = velocity.astype(gradient.dtype)
        return self.state[key] / self.oracle.dtype(rate)


class MomentumOff(OracleOptimizer):
    """0.999 of the momentum."""

    def __init__(self, oracle: Oracle, recipe: Recipe) -> None:
        super().__init__(oracle, recipe.with_changes(momentum=0.999 * recipe.momentum))


class Accumulating(OracleOptimizer):
    """Adds every gradient to all before it."""

    def apply(self, gradients: Arrays) -> None:
        """The sum so far."""
        before = getattr(self, "sums", dict.fromkeys(gradients, 0))
        self.sums = {name: before[name] + gradient for name, gradient in gradients.items()}
        super().apply(self.sums)


class RateNeverChanges(Remembering):
    """Keeps the rate it started with."""

    def apply(self, gradients: Arrays) -> None:
        """At the first rate."""
        self.learning_rate = self.first_rate
        super().apply(gradients)


class ShortBatchDropped(Remembering):
    """Skips a batch that is smaller than another was."""

    def apply(self, gradients: Arrays) -> None:
        """Or nothing."""
        if self.batch >= self.full_batch:
            super().apply(gradients)


class ShortBatchWeighedAsFull(Remembering):
    """Divides every sum by the size of a full batch."""

    def apply(self, gradients: Arrays) -> None:
        """Of the share that is there."""
        share = self.oracle.dtype(self.batch / max(self.batch, self.full_batch))
        super().apply({name: share * gradient for name, gradient in gradients.items()})
