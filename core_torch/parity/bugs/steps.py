"""Bugs in one step of an optimizer: its length, its direction, and which weights it moves."""

from collections.abc import Callable

import numpy as np

from core_torch.parity.bugs.bug import Bug
from core_torch.parity.bugs.places import has_biases, has_momentum, trains_by
from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.optimizer import OracleOptimizer

L2 = 1e-3  # a weight decay that nobody asked for


def rate_off(factor: float = 1.0, *, decay: float = 1.0) -> type[OracleOptimizer]:
    """Make steps `factor` times as long, and with every step `decay` times that."""

    class RateOff(OracleOptimizer):
        def direction(self, name: str, gradient: np.ndarray) -> np.ndarray:
            return self.oracle.dtype(factor * decay ** (self.steps - 1)) * super().direction(name, gradient)

    return RateOff


def leaving(is_left: Callable[[str], bool]) -> type[OracleOptimizer]:
    """Make an optimizer that leaves some parameters alone."""

    class Leaving(OracleOptimizer):
        def descend(self, name: str, gradient: np.ndarray) -> None:
            if not is_left(name):
                super().descend(name, gradient)

    return Leaving


def added(change: Callable[[OracleOptimizer, str, np.ndarray], np.ndarray]) -> type[OracleOptimizer]:
    """Make an optimizer that steps by something else than the gradient."""

    class Added(OracleOptimizer):
        def descend(self, name: str, gradient: np.ndarray) -> None:
            super().descend(name, change(self, name, gradient).astype(gradient.dtype))

    return Added


def afterwards(change: Callable[[OracleOptimizer, np.ndarray], np.ndarray]) -> type[OracleOptimizer]:
    """Make an optimizer that changes each weight after its step."""

    class Afterwards(OracleOptimizer):
        def descend(self, name: str, gradient: np.ndarray) -> None:
            super().descend(name, gradient)
            weights = self.oracle.weights
            weights[name] = change(self, weights[name]).astype(gradient.dtype)

    return Afterwards


class Twice(OracleOptimizer):
    """Apply each step two times."""

    def apply(self, gradients: Arrays) -> None:
        """Step again by the same gradients."""
        super().apply(gradients)
        super().apply(gradients)


class Averaged(OracleOptimizer):
    """Replace the weights by their running average."""

    def apply(self, gradients: Arrays) -> None:
        """Go half of the way."""
        before = dict(self.oracle.weights)
        super().apply(gradients)
        half = self.oracle.dtype(0.5)
        for name, value in before.items():
            self.oracle.weights[name] = half * (value + self.oracle.weights[name])


def _is_last_bias(name: str) -> bool:
    return name.startswith("decoder") and name.endswith("bias")


STEP_BUGS: dict[str, Bug] = {
    "rate doubled": Bug("the learning rate is twice the recipe's", optimizer=rate_off(2.0)),
    "rate halved": Bug("the learning rate is half the recipe's", optimizer=rate_off(0.5)),
    "rate ten times too large": Bug("the learning rate is ten times the recipe's", optimizer=rate_off(10.0)),
    "rate ten times too small": Bug("the learning rate is a tenth of the recipe's", optimizer=rate_off(0.1)),
    "rate off by half a percent": Bug("the learning rate is half a percent off", optimizer=rate_off(1.005)),
    "step forgotten": Bug("no step is ever taken", optimizer=leaving(lambda name: True)),
    "step taken twice": Bug("each step is taken twice", optimizer=Twice),
    "uphill": Bug("steps go uphill", optimizer=rate_off(-1.0)),
    "decay in the gradient": Bug(
        "weights decay by way of the gradient",
        optimizer=added(lambda o, name, g: g + o.oracle.dtype(L2) * o.oracle.weights[name]),
        needs=trains_by("sgd", "adam"),
    ),
    "decay beside the gradient": Bug(
        "weights decay by the learning rate times 0.001",
        optimizer=afterwards(lambda o, w: w * o.oracle.dtype(1 - o.learning_rate * L2)),
        needs=trains_by("sgd", "adam"),
    ),
    "weights clipped": Bug(
        "weights are clipped to [-0.5, 0.5]", optimizer=afterwards(lambda o, w: np.clip(w, -0.5, 0.5))
    ),
    "weights kept in half precision": Bug(
        "weights are stored as float16 after each step", optimizer=afterwards(lambda o, w: w.astype(np.float16))
    ),
    "weights averaged": Bug("weights are averaged with those before the step", optimizer=Averaged),
    "Nesterov": Bug("momentum is Nesterov's", recipe={"nesterov": True}, needs=has_momentum),
    "Adam for SGD": Bug(
        "the optimizer is Adam",
        recipe={"optimizer": "adam", "momentum": 0.0, "nesterov": False},
        needs=trains_by("sgd"),
    ),
    "SGD for Adam": Bug(
        "the optimizer is plain SGD", recipe={"optimizer": "sgd", "weight_decay": 0.0}, needs=trains_by("adam", "adamw")
    ),
    "biases not optimized": Bug(
        "the optimizer does not know the biases",
        optimizer=leaving(lambda name: name.endswith("bias")),
        needs=has_biases,
    ),
    "last biases not optimized": Bug(
        "the optimizer does not know the decoder's biases", optimizer=leaving(_is_last_bias), needs=has_biases
    ),
    "decoder not optimized": Bug(
        "the optimizer does not know the decoder", optimizer=leaving(lambda name: name.startswith("decoder"))
    ),
    "encoder not optimized": Bug(
        "the optimizer does not know the encoder", optimizer=leaving(lambda name: name.startswith("encoder"))
    ),
    "first layer not optimized": Bug(
        "the optimizer does not know the first layer", optimizer=leaving(lambda name: name.startswith("encoder.0"))
    ),
}
