"""Bugs in SGD's momentum, and in how its velocity is shown."""

import numpy as np

from core_torch.parity.bugs.bug import Bug, BuggyCandidate
from core_torch.parity.bugs.places import has_momentum
from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.recipe import Recipe


class Dampened(OracleOptimizer):
    """v <- m v + (1 - m) g."""

    def accelerate(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """Take a share of the gradient."""
        return super().accelerate(name, self.oracle.dtype(1 - self.recipe.momentum) * gradient)


class DampenedLater(Dampened):
    """The same, but for the first step, as PyTorch dampens."""

    def accelerate(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """Take the whole of the first gradient."""
        if self.steps == 1:
            return OracleOptimizer.accelerate(self, name, gradient)
        return super().accelerate(name, gradient)


class RateInVelocity(OracleOptimizer):
    """v <- m v + rate g, w <- w - v."""

    def accelerate(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """Return it in units of the present rate, as `descend` multiplies by it again."""
        rate, key = self.learning_rate, f"momentum/{name}"
        velocity = self.recipe.momentum * self.state.get(key, np.zeros_like(gradient)) + rate * gradient
        self.state[key] = velocity.astype(gradient.dtype)
        return self.state[key] / self.oracle.dtype(rate)


def momentum_off(factor: float) -> type[OracleOptimizer]:
    """Make an optimizer whose momentum is `factor` times the recipe's."""

    class MomentumOff(OracleOptimizer):
        def __init__(self, oracle: Oracle, recipe: Recipe) -> None:
            super().__init__(oracle, recipe.with_changes(momentum=factor * recipe.momentum))

    return MomentumOff


class VelocityForgottenWithTheRate(OracleOptimizer):
    """Start from rest when the learning rate changes."""

    def apply(self, gradients: Arrays) -> None:
        """Compare the rate with that of the last step."""
        if self.learning_rate != getattr(self, "last_rate", self.learning_rate):
            self.state.clear()
        self.last_rate = self.learning_rate
        super().apply(gradients)


class OneVelocityForAll(OracleOptimizer):
    """Drop the velocity of biases."""

    def accelerate(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """Let weights alone accelerate."""
        return gradient if name.endswith("bias") else super().accelerate(name, gradient)


class KeepsState(BuggyCandidate):
    """Do not forget the optimizer's state when weights are loaded."""

    def load(self, weights: Arrays) -> None:
        """Hand the old state to the new optimizer."""
        before = getattr(self, "optimizer", None)
        super().load(weights)
        if before is not None:
            self.optimizer.state, self.optimizer.steps = before.state, before.steps


def _keras(name: str, value: np.ndarray, optimizer: OracleOptimizer) -> np.ndarray:
    return (-optimizer.learning_rate * value).astype(value.dtype)


def _keras_first_rate(name: str, value: np.ndarray, optimizer: OracleOptimizer) -> np.ndarray:
    return (-optimizer.recipe.learning_rate * value).astype(value.dtype)


MOMENTUM_BUGS: dict[str, Bug] = {
    "momentum dampened": Bug("gradients enter the velocity by 1 - momentum", optimizer=Dampened, needs=has_momentum),
    "momentum dampened after the first step": Bug(
        "gradients after the first enter the velocity by 1 - momentum", optimizer=DampenedLater, needs=has_momentum
    ),
    "momentum after the rate": Bug(
        "the learning rate is inside the velocity, as in Keras, and outlives its change",
        optimizer=RateInVelocity,
        needs=has_momentum,
    ),
    "momentum forgotten": Bug("there is no momentum", recipe={"momentum": 0.0}, needs=has_momentum),
    "momentum of 0.5": Bug("momentum is 0.5", recipe={"momentum": 0.5}, needs=has_momentum),
    "momentum of 0.99": Bug("momentum is 0.99", recipe={"momentum": 0.99}, needs=has_momentum),
    "momentum off by a percent": Bug("momentum is a percent off", optimizer=momentum_off(0.99), needs=has_momentum),
    "momentum off by a thousandth": Bug(
        "momentum is a thousandth off", optimizer=momentum_off(0.999), needs=has_momentum
    ),
    "momentum of weights alone": Bug(
        "biases have no momentum",
        optimizer=OneVelocityForAll,
        needs=lambda p: has_momentum(p) and any(name.endswith("bias") for name in p.weights),
    ),
    "momentum forgotten with the rate": Bug(
        "the velocity is forgotten when the learning rate changes",
        optimizer=VelocityForgottenWithTheRate,
        needs=has_momentum,
    ),
    "momentum survives loading": Bug(
        "loading weights does not set the velocity back", port=KeepsState, needs=has_momentum
    ),
    "velocity shown as Keras has it": Bug(
        "training is right, but the velocity is shown times minus the learning rate, as Keras has it",
        shows=_keras,
        needs=has_momentum,
    ),
    "velocity shown by the first rate": Bug(
        "training is right, but the velocity is shown times minus the first learning rate",
        shows=_keras_first_rate,
        needs=has_momentum,
    ),
    "velocity shown as zero": Bug(
        "training is right, but the velocity is shown as zeros",
        shows=lambda name, value, optimizer: np.zeros_like(value),
        needs=has_momentum,
    ),
    "velocity shown negative": Bug(
        "training is right, but the velocity is shown with the other sign",
        shows=lambda name, value, optimizer: -value,
        needs=has_momentum,
    ),
    "velocity shown as its share": Bug(
        "training is right, but the velocity is shown times 1 - momentum",
        shows=lambda name, value, optimizer: (1 - optimizer.recipe.momentum) * value,
        needs=has_momentum,
    ),
}
