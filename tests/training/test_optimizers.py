"""Each recipe's optimizer is PyTorch's, and the oracle's is the same in float64: weights and state."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch

from core_torch.models.autoencoder import Autoencoder, build_autoencoder, to_reference_weights
from core_torch.parity.bugs.adam import EpsilonBeforeCorrection
from core_torch.parity.bugs.momentum import RateInVelocity
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Arrays, Oracle
from core_torch.spec.architecture import FullyConnected
from core_torch.spec.recipe import Recipe
from core_torch.training.loop import build_optimizer

STEPS, RATE, LATER_RATE = 12, 0.05, 0.02  # the rate changes half-way
ROUNDING = 1e-14  # relative
BROKEN = 1e-4
SMALL = FullyConnected(widths=(6, 4, 3), hidden_activation="tanh")
RECIPES = {
    "sgd": Recipe(optimizer="sgd", learning_rate=RATE),
    "momentum": Recipe(optimizer="sgd", learning_rate=RATE, momentum=0.9),
    "nesterov": Recipe(optimizer="sgd", learning_rate=RATE, momentum=0.9, nesterov=True),
    "adam": Recipe(optimizer="adam", learning_rate=RATE),
    "adam, epsilon": Recipe(optimizer="adam", learning_rate=RATE, epsilon=1e-2),
    "adamw": Recipe(optimizer="adamw", learning_rate=RATE, epsilon=1e-2, weight_decay=0.1),
    "adamw, no decay": Recipe(optimizer="adamw", learning_rate=RATE),
}
# With torch's own default of each number that the recipe leaves alone, but for AdamW's decay of 0.01.
TORCH: dict[str, Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, RATE),
    "momentum": lambda parameters: torch.optim.SGD(parameters, RATE, momentum=0.9),
    "nesterov": lambda parameters: torch.optim.SGD(parameters, RATE, momentum=0.9, nesterov=True),
    "adam": lambda parameters: torch.optim.Adam(parameters, RATE),
    "adam, epsilon": lambda parameters: torch.optim.Adam(parameters, RATE, eps=1e-2),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, RATE, eps=1e-2, weight_decay=0.1),
    "adamw, no decay": lambda parameters: torch.optim.AdamW(parameters, RATE, weight_decay=0),
}
ALIASES = {"adamw, no decay": "adam"}
STATE = {"momentum": "momentum_buffer", "first_moment": "exp_avg", "second_moment": "exp_avg_sq"}


def small() -> Autoencoder:
    return build_autoencoder(SMALL, seed=1).double()


def gradients() -> list[Arrays]:
    """Twelve steps of one sign or the other for each weight, from 1e-3 to 1 in size."""
    generator, parameters = np.random.default_rng(5), dict(small().named_parameters())

    def random(shape: tuple[int, ...]) -> np.ndarray:
        return 10 ** generator.uniform(-3, 0, shape) * generator.choice([-1, 1], shape)

    return [{name: random(tuple(value.shape)) for name, value in parameters.items()} for _ in range(STEPS)]


def after_torch(build: Callable[[Autoencoder], torch.optim.Optimizer]) -> tuple[Arrays, Arrays]:
    """Weights, and the state in the oracle's names."""
    model = small()
    optimizer, parameters = build(model), dict(model.named_parameters())
    for number, gradient in enumerate(gradients()):
        if number == STEPS // 2:
            optimizer.param_groups[0]["lr"] = LATER_RATE
        for name, parameter in parameters.items():
            parameter.grad = torch.from_numpy(gradient[name])
        optimizer.step()
    state = {
        f"{ours}/{name}": optimizer.state[parameter][theirs].numpy()
        for name, parameter in parameters.items()
        for ours, theirs in STATE.items()
        if optimizer.state[parameter].get(theirs) is not None
    }
    return to_reference_weights(model), state


def after_oracle(recipe: Recipe, optimizer_class: type[OracleOptimizer] = OracleOptimizer) -> tuple[Arrays, Arrays]:
    optimizer = optimizer_class(Oracle(SMALL, to_reference_weights(small())), recipe)
    for number, gradient in enumerate(gradients()):
        if number == STEPS // 2:
            optimizer.learning_rate = LATER_RATE
        optimizer.apply(gradient)
    return optimizer.oracle.weights, optimizer.state


def distance(one: Arrays, other: Arrays) -> float:
    """The largest relative distance; both must hold the same names."""
    assert one.keys() == other.keys()
    return max((np.linalg.norm(one[name] - other[name]) / np.linalg.norm(other[name]) for name in one), default=0.0)


@pytest.mark.parametrize("name", RECIPES)
def test_the_oracle_s_weights_and_state_are_torch_s(name):
    (weights, state), (expected, buffers) = (
        after_oracle(RECIPES[name]),
        after_torch(lambda model: TORCH[name](model.parameters())),
    )
    assert distance(weights, expected) < ROUNDING
    assert distance(state, buffers) < ROUNDING
    assert bool(state) is (name != "sgd")
    assert distance(to_reference_weights(small()), expected) > BROKEN


class DecayAfterTheStep(OracleOptimizer):
    """Shrinks the weight that the step has left, not the one that it found."""

    def descend(self, name, gradient):
        step = self.learning_rate * self.direction(name, gradient)
        shrink = 1 - self.learning_rate * self.recipe.weight_decay
        self.oracle.weights[name] = (self.oracle.weights[name] - step) * shrink


@pytest.mark.parametrize(
    ("broken", "name"),
    [(RateInVelocity, "momentum"), (EpsilonBeforeCorrection, "adam, epsilon"), (DecayAfterTheStep, "adamw")],
)
def test_a_broken_optimizer_is_not_torch_s(broken, name):
    expected = after_torch(lambda model: TORCH[name](model.parameters()))[0]
    assert distance(after_oracle(RECIPES[name], broken)[0], expected) > BROKEN


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_builds_that_optimizer_and_no_other(name):
    expected = after_torch(lambda model: TORCH[name](model.parameters()))
    for other, recipe in RECIPES.items():
        found = after_torch(lambda model: build_optimizer(model, recipe))  # noqa: B023
        same = all(
            one.keys() == two.keys() and all(np.array_equal(one[key], two[key]) for key in one)
            for one, two in zip(found, expected)
        )
        assert same is (ALIASES.get(other, other) == ALIASES.get(name, name))
