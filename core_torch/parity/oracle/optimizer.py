"""The oracle's optimizers, each in the form of its paper or of PyTorch: SGD, momentum, Nesterov, Adam, AdamW."""

from collections.abc import Iterable

import numpy as np

from core_torch.parity.oracle.network import Arrays
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.recipe import ADAM_BETAS, Recipe


class OracleOptimizer:
    """Trains an oracle by a recipe. Its state is what PyTorch would hold, by kind and weight.

    Attributes:
        learning_rate: per step; may be changed between steps.
        state: {"momentum/NAME": velocity} of SGD with momentum; {"first_moment/NAME", "second_moment/NAME"} of Adam.
    """

    def __init__(self, oracle: Oracle, recipe: Recipe) -> None:
        self.oracle, self.recipe = oracle, recipe
        self.learning_rate = recipe.learning_rate
        self.contraction = recipe.contraction if recipe.objective == "contractive" else 0.0
        self.state: Arrays = {}
        self.steps = 0

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """One step; the loss before it."""
        loss, gradients = self.gradients(inputs, targets)
        self.apply(gradients)
        return loss

    def apply(self, gradients: Arrays) -> None:
        """Update every weight."""
        self.steps += 1
        for name, gradient in gradients.items():
            self.descend(name, gradient)

    def train(self, images: np.ndarray, batches: Iterable[np.ndarray]) -> list[float]:
        """A step for each index batch, images (N, pixels) being their own targets; the losses."""
        return [self.step(images[batch], images[batch]) for batch in batches]

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Loss and gradients of the recipe's objective; noise is the caller's, in the inputs."""
        return self.oracle.gradients(inputs, targets, contraction=self.contraction)

    def descend(self, name: str, gradient: np.ndarray) -> None:
        """Update one weight, w <- w - learning_rate * direction; AdamW first shrinks it."""
        direction = self.direction(name, gradient)
        weights, rate = self.oracle.weights, self.learning_rate
        if self.recipe.weight_decay:
            weights[name] = weights[name] * self.oracle.dtype(1 - rate * self.recipe.weight_decay)
        weights[name] = weights[name] - self.oracle.dtype(rate) * direction

    def direction(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """Of descent: the gradient, the velocity, or Adam's quotient."""
        return self.accelerate(name, gradient) if self.recipe.optimizer == "sgd" else self.adam(name, gradient)

    def accelerate(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """v <- momentum v + g, and v; of Nesterov's form, momentum v + g (Sutskever et al. 2013)."""
        momentum = self.recipe.momentum
        if not momentum:
            return gradient
        velocity = momentum * self.state.get(f"momentum/{name}", np.zeros_like(gradient)) + gradient
        self.state[f"momentum/{name}"] = velocity
        return momentum * velocity + gradient if self.recipe.nesterov else velocity

    def adam(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """m^ / (sqrt(v^) + epsilon) (Kingma and Ba 2015, algorithm 1)."""
        first, second = self.moments(name, gradient)
        return first / (np.sqrt(second) + self.recipe.epsilon)

    def moments(self, name: str, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """m^ and v^, both corrected for their start at zero."""
        first, second = (
            self.average(f"{kind}/{name}", value, decay=decay)
            for kind, value, decay in zip(("first_moment", "second_moment"), (gradient, gradient**2), ADAM_BETAS)
        )
        first_share, second_share = (1 - decay**self.steps for decay in ADAM_BETAS)
        return first / first_share, second / second_share

    def average(self, key: str, value: np.ndarray, *, decay: float) -> np.ndarray:
        """state[key] <- decay state[key] + (1 - decay) value, from zero."""
        self.state[key] = decay * self.state.get(key, np.zeros_like(value)) + (1 - decay) * value
        return self.state[key]
