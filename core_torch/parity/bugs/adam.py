"""Bugs in Adam and AdamW, and in how their moments are shown."""

import numpy as np

from core_torch.parity.bugs.bug import Bug
from core_torch.parity.bugs.momentum import KeepsState
from core_torch.parity.bugs.places import all_of, has_biases, trains_by
from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.spec.recipe import ADAM_BETAS


def betas(first: float, second: float) -> type[OracleOptimizer]:
    """Make Adam with other decays of its moments."""

    class OtherBetas(OracleOptimizer):
        def moments(self, name: str, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return (
                self.average(f"first_moment/{name}", gradient, decay=first) / (1 - first**self.steps),
                self.average(f"second_moment/{name}", gradient**2, decay=second) / (1 - second**self.steps),
            )

    return OtherBetas


def at_step(step: "int | None" = None, *, ahead: int = 0) -> type[OracleOptimizer]:
    """Make Adam correct its moments as at another step."""

    class OtherStep(OracleOptimizer):
        def adam(self, name: str, gradient: np.ndarray) -> np.ndarray:
            steps = self.steps
            self.steps = step or steps + ahead
            direction = super().adam(name, gradient)
            self.steps = steps
            return direction

    return OtherStep


class EpsilonBeforeCorrection(OracleOptimizer):
    """sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)."""

    def adam(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """Raise the epsilon that is added after the correction."""
        first, second = self.moments(name, gradient)
        epsilon = self.recipe.epsilon / np.sqrt(1 - ADAM_BETAS[1] ** self.steps)
        return (first / (np.sqrt(second) + epsilon)).astype(gradient.dtype)


class EpsilonInRoot(OracleOptimizer):
    """m / sqrt(v + epsilon)."""

    def adam(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """Add it before the root is taken."""
        first, second = self.moments(name, gradient)
        return (first / np.sqrt(second + self.recipe.epsilon)).astype(gradient.dtype)


class WithoutRoot(OracleOptimizer):
    """m / (v + epsilon)."""

    def adam(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """Forget the root."""
        first, second = self.moments(name, gradient)
        return (first / (second + self.recipe.epsilon)).astype(gradient.dtype)


class FirstUncorrected(OracleOptimizer):
    """Correct the second moment alone."""

    def adam(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """Undo the correction of the first."""
        share = self.oracle.dtype(1 - ADAM_BETAS[0] ** self.steps)
        return share * super().adam(name, gradient)


class Amsgrad(OracleOptimizer):
    """Divide by the largest second moment so far."""

    def moments(self, name: str, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keep the largest, corrected, as PyTorch does not."""
        first, second = super().moments(name, gradient)
        largest = self.__dict__.setdefault("largest", {})
        largest[name] = np.maximum(largest.get(name, 0), second)
        return first, largest[name]


class NesterovAdam(OracleOptimizer):
    """Look ahead by the first moment's decay."""

    def moments(self, name: str, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mix the gradient in once more."""
        first, second = super().moments(name, gradient)
        return ADAM_BETAS[0] * first + (1 - ADAM_BETAS[0]) / (1 - ADAM_BETAS[0] ** self.steps) * gradient, second


class CoupledDecay(OracleOptimizer):
    """Adam with L2 where AdamW decouples it."""

    def descend(self, name: str, gradient: np.ndarray) -> None:
        """Put the decay into the gradient."""
        weights = self.oracle.weights
        direction = self.adam(name, gradient + self.oracle.dtype(self.recipe.weight_decay) * weights[name])
        weights[name] = weights[name] - self.oracle.dtype(self.learning_rate) * direction


def decay_of(share: str) -> type[OracleOptimizer]:
    """Make AdamW whose decay is wrong in one way."""

    class OtherDecay(OracleOptimizer):
        def descend(self, name: str, gradient: np.ndarray) -> None:
            weights, rate, decay = self.oracle.weights, self.learning_rate, self.recipe.weight_decay
            decays = {
                "without rate": decay,
                "by the first rate": self.recipe.learning_rate * decay,
                "of weights": 0.0 if name.endswith("bias") else rate * decay,
                "doubled": 2 * rate * decay,
                "after": rate * decay,
            }
            factor = self.oracle.dtype(1 - decays[share])
            step = self.oracle.dtype(rate) * self.adam(name, gradient)
            weights[name] = (weights[name] - step) * factor if share == "after" else weights[name] * factor - step

    return OtherDecay


class StepsForgottenWithTheRate(OracleOptimizer):
    """Start counting steps again when the learning rate changes."""

    def apply(self, gradients: Arrays) -> None:
        """Compare the rate with that of the last step."""
        if self.learning_rate != getattr(self, "last_rate", self.learning_rate):
            self.steps = 0
        self.last_rate = self.learning_rate
        super().apply(gradients)


def _corrected(name: str, value: np.ndarray, optimizer: OracleOptimizer) -> np.ndarray:
    decay = ADAM_BETAS[name.startswith("second")]
    return (value / (1 - decay**optimizer.steps)).astype(value.dtype)


ADAM, ADAMW = trains_by("adam", "adamw"), trains_by("adamw")
ADAM_BUGS: dict[str, Bug] = {
    "decoupled decay in the gradient": Bug(
        "weight decay is added to the gradient", optimizer=CoupledDecay, needs=ADAMW
    ),
    "decay forgotten": Bug("there is no weight decay", recipe={"weight_decay": 0.0}, needs=ADAMW),
    "decay doubled": Bug("weights decay twice as fast", optimizer=decay_of("doubled"), needs=ADAMW),
    "decay without the rate": Bug(
        "weight decay is not multiplied by the learning rate", optimizer=decay_of("without rate"), needs=ADAMW
    ),
    "decay by the first rate": Bug(
        "weight decay does not follow the learning rate", optimizer=decay_of("by the first rate"), needs=ADAMW
    ),
    "decay of weights alone": Bug(
        "biases do not decay", optimizer=decay_of("of weights"), needs=all_of(ADAMW, has_biases)
    ),
    "decay after the step": Bug("weights decay after the step", optimizer=decay_of("after"), needs=ADAMW),
    "no bias correction": Bug("Adam's moments are not corrected for their start", optimizer=at_step(10**9), needs=ADAM),
    "first moment not corrected": Bug(
        "Adam's first moment is not corrected for its start", optimizer=FirstUncorrected, needs=ADAM
    ),
    "correction one step ahead": Bug("Adam counts its steps from 2", optimizer=at_step(ahead=1), needs=ADAM),
    "correction of the first step": Bug("Adam does not count its steps", optimizer=at_step(1), needs=ADAM),
    "epsilon before the correction": Bug(
        "Adam's epsilon is added before the bias correction, as in Keras", optimizer=EpsilonBeforeCorrection, needs=ADAM
    ),
    "epsilon in the root": Bug("Adam's epsilon is inside the root", optimizer=EpsilonInRoot, needs=ADAM),
    "epsilon of 1e-7": Bug("Adam's epsilon is 1e-7, Keras's default", recipe={"epsilon": 1e-7}, needs=ADAM),
    "epsilon of 1e-8": Bug("Adam's epsilon is 1e-8, PyTorch's default", recipe={"epsilon": 1e-8}, needs=ADAM),
    "epsilon of 1e-3": Bug("Adam's epsilon is 0.001", recipe={"epsilon": 1e-3}, needs=ADAM),
    "no root": Bug("Adam divides by the second moment, not its root", optimizer=WithoutRoot, needs=ADAM),
    "first moment without decay": Bug("Adam has no first moment", optimizer=betas(0.0, ADAM_BETAS[1]), needs=ADAM),
    "first decay of 0.95": Bug("Adam's first decay is 0.95", optimizer=betas(0.95, ADAM_BETAS[1]), needs=ADAM),
    "second decay of 0.99": Bug("Adam's second decay is 0.99", optimizer=betas(ADAM_BETAS[0], 0.99), needs=ADAM),
    "second decay of 0.9": Bug("Adam's second decay is 0.9", optimizer=betas(ADAM_BETAS[0], 0.9), needs=ADAM),
    "decays swapped": Bug("Adam's two decays are swapped", optimizer=betas(*ADAM_BETAS[::-1]), needs=ADAM),
    "AMSGrad": Bug("Adam divides by the largest second moment so far", optimizer=Amsgrad, needs=ADAM),
    "Nesterov's Adam": Bug("Adam looks ahead as Nesterov's momentum does", optimizer=NesterovAdam, needs=ADAM),
    "steps forgotten with the rate": Bug(
        "Adam counts its steps from 1 again when the learning rate changes",
        optimizer=StepsForgottenWithTheRate,
        needs=ADAM,
    ),
    "moments survive loading": Bug("loading weights does not set the moments back", port=KeepsState, needs=ADAM),
    "moments shown corrected": Bug(
        "training is right, but the moments are shown corrected for their start", shows=_corrected, needs=ADAM
    ),
    "moments shown as zero": Bug(
        "training is right, but the moments are shown as zeros",
        shows=lambda name, value, optimizer: np.zeros_like(value),
        needs=ADAM,
    ),
}
