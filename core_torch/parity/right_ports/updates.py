"""Equal forms of an optimizer: other variables, other places of the rate, the same weights after every step."""

import math

import numpy as np

from core_torch.parity.candidate import Arrays
from core_torch.spec.recipe import ADAM_BETAS, Recipe


class Update:
    """PyTorch's form: the rate outside the velocity, both moments corrected."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.rate, self.steps = recipe, recipe.learning_rate, 0
        self.state: dict[str, Arrays] = {}

    def set_rate(self, rate: float) -> None:
        """From the next step on."""
        self.rate = rate

    def apply(self, weights: Arrays, gradients: Arrays) -> Arrays:
        """The weights after a step."""
        self.steps += 1
        return {name: self.moved(name, weights[name], gradients[name]) for name in weights}

    def moved(self, name: str, weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """One weight after the step."""
        if self.recipe.optimizer == "sgd":
            return self.momentum(name, weight, gradient)
        if self.recipe.weight_decay:
            weight = weight - self.rate * self.recipe.weight_decay * weight
        return self.adam(name, weight, gradient)

    def momentum(self, name: str, weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """v <- m v + g; w <- w - rate v."""
        momentum = self.recipe.momentum
        velocity = self.kept("momentum", name, gradient) * momentum + gradient
        self.keep("momentum", name, velocity)
        result: np.ndarray = weight - self.rate * (velocity * momentum + gradient if self.recipe.nesterov else velocity)
        return result

    def adam(self, name: str, weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """w <- w - rate m^ / (sqrt(v^) + epsilon)."""
        first, second = self.moments(name, gradient)
        first_share, second_share = (1 - beta**self.steps for beta in ADAM_BETAS)
        return weight - self.rate * (first / first_share) / (np.sqrt(second / second_share) + self.recipe.epsilon)

    def moments(self, name: str, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both moving averages."""
        first, second = ADAM_BETAS
        self.keep("first_moment", name, self.kept("first_moment", name, gradient) * first + gradient * (1 - first))
        squares = gradient * gradient * (1 - second)
        self.keep("second_moment", name, self.kept("second_moment", name, gradient) * second + squares)
        return self.state["first_moment"][name], self.state["second_moment"][name]

    def kept(self, kind: str, name: str, like: np.ndarray) -> np.ndarray:
        """State of a kind; zeros at the start."""
        return self.state.get(kind, {}).get(name, np.zeros_like(like))

    def keep(self, kind: str, name: str, value: np.ndarray) -> None:
        """For the next step."""
        self.state.setdefault(kind, {})[name] = value

    def shown(self) -> Arrays:
        """In PyTorch's names; SGD without momentum has none."""
        if self.recipe.optimizer == "sgd" and not self.recipe.momentum:
            return {}
        return {f"{kind}/{name}": value for kind, values in self.state.items() for name, value in values.items()}


class RateInside(Update):
    """Keras's form: the rate inside the velocity, which is rescaled when the rate changes; Adam's factors folded."""

    def set_rate(self, rate: float) -> None:
        """Rescale the velocities."""
        for name, value in self.state.get("momentum", {}).items():
            self.keep("momentum", name, value * (rate / self.rate))
        super().set_rate(rate)

    def momentum(self, name: str, weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """u <- m u - rate g; w <- w + u."""
        momentum = self.recipe.momentum
        velocity = self.kept("momentum", name, gradient) * momentum - self.rate * gradient
        self.keep("momentum", name, velocity)
        return weight + (velocity * momentum - self.rate * gradient if self.recipe.nesterov else velocity)

    def adam(self, name: str, weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The corrections in the rate, and in epsilon what they do to it."""
        first, second = self.moments(name, gradient)
        root = math.sqrt(1 - ADAM_BETAS[1] ** self.steps)
        rate = self.rate * root / (1 - ADAM_BETAS[0] ** self.steps)
        result: np.ndarray = weight - first * rate / (np.sqrt(second) + self.recipe.epsilon * root)
        return result

    def shown(self) -> Arrays:
        """Nothing, because the velocity is another quantity."""
        return {} if self.recipe.optimizer == "sgd" else super().shown()


class MovingAverage(Update):
    """Averages moved toward the gradient; a velocity is such an average over 1 - momentum."""

    def momentum(self, name: str, weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """a <- a + (1 - m) (g - a); w <- w - rate / (1 - m) a."""
        share = 1 - self.recipe.momentum
        average = self.kept("average", name, gradient)
        average = average + share * (gradient - average)
        self.keep("average", name, average)
        velocity = average / share
        result: np.ndarray = weight - self.rate * (
            velocity * self.recipe.momentum + gradient if self.recipe.nesterov else velocity
        )
        return result

    def moments(self, name: str, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both moved by a share of the difference."""
        for kind, value, beta in zip(("first_moment", "second_moment"), (gradient, gradient * gradient), ADAM_BETAS):
            before = self.kept(kind, name, gradient)
            self.keep(kind, name, before + (1 - beta) * (value - before))
        return self.state["first_moment"][name], self.state["second_moment"][name]

    def shown(self) -> Arrays:
        """Adam's moments; an average is not a velocity."""
        return {} if self.recipe.optimizer == "sgd" else super().shown()
