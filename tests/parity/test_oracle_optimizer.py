"""The oracle's optimizers against two steps written out, the learning rate halved in between."""

from collections.abc import Callable

import numpy as np
import pytest

from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.architecture import FullyConnected
from core_torch.spec.batch_order import batch_order
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.recipe import Recipe

ROUNDING = 1e-14  # relative
EPSILON, DECAY = 0.5, 0.25  # large, so that their places in the formula show
RECIPES = {
    "sgd": Recipe(optimizer="sgd", learning_rate=0.1),
    "momentum": Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.5),
    "nesterov": Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.5, nesterov=True),
    "adam": Recipe(optimizer="adam", learning_rate=0.1, epsilon=EPSILON),
    "adamw": Recipe(optimizer="adamw", learning_rate=0.1, epsilon=EPSILON, weight_decay=DECAY),
}
ENCODER, DECODER = "encoder.0.weight", "decoder.0.weight"


def scalar_oracle() -> Oracle:
    """y = d e x with one weight e in the encoder and one weight d in the decoder."""
    linear = dict.fromkeys(("code_activation", "output_activation"), "linear")
    weights = {ENCODER: np.array([[0.5]]), DECODER: np.array([[1.0]])}
    return Oracle(FullyConnected(widths=(1, 1), bias=False, **linear), weights)


def two_steps(optimizer: OracleOptimizer) -> list[float]:
    """Both losses for x = t = 1, then e and d."""
    one = np.array([[1.0]])
    losses = [optimizer.step(one, one)]
    optimizer.learning_rate = 0.05
    losses.append(optimizer.step(one, one))
    return [*losses, *(float(value[0, 0]) for value in optimizer.oracle.weights.values())]


def by_hand(rule: Callable) -> list[float]:
    """As `two_steps`: `rule(w, gradients so far, learning rates so far)` is the next w, e and d alike."""
    e, d, rates, losses = 0.5, 1.0, [], []
    gradients: tuple[list[float], list[float]] = ([], [])
    for rate in (0.1, 0.05):
        error = d * e - 1
        losses.append(error**2)
        rates.append(rate)
        gradients[0].append(2 * error * d)
        gradients[1].append(2 * error * e)
        e, d = rule(e, gradients[0], rates), rule(d, gradients[1], rates)
    return [*losses, e, d]


def quotient(g: list[float]) -> float:
    """Adam's direction: first by (1 - b) / (1 - b) = 1, then by b (1 - b) and 1 - b of 1 - b^2."""
    if len(g) == 1:
        return g[0] / (abs(g[0]) + EPSILON)
    first = (0.9 * 0.1 * g[0] + 0.1 * g[1]) / (1 - 0.9**2)
    second = (0.999 * 0.001 * g[0] ** 2 + 0.001 * g[1] ** 2) / (1 - 0.999**2)
    return first / (second**0.5 + EPSILON)


RULES = {
    "sgd": lambda w, g, rate: w - rate[-1] * g[-1],
    "momentum": lambda w, g, rate: w - rate[-1] * (g[0] if len(g) == 1 else 0.5 * g[0] + g[1]),
    "nesterov": lambda w, g, rate: w - rate[-1] * (1.5 * g[0] if len(g) == 1 else 0.5 * (0.5 * g[0] + g[1]) + g[1]),
    "adam": lambda w, g, rate: w - rate[-1] * quotient(g),
    "adamw": lambda w, g, rate: w * (1 - rate[-1] * DECAY) - rate[-1] * quotient(g),
}


@pytest.mark.parametrize("name", RECIPES)
def test_two_steps_are_those_worked_out_by_hand(name):
    found = two_steps(OracleOptimizer(scalar_oracle(), RECIPES[name]))
    for other, rule in RULES.items():
        same = found == pytest.approx(by_hand(rule), rel=1e-12)
        assert same is (other == name)


def test_two_steps_with_momentum_in_numbers():
    """x = t = 1, e = 0.5, d = 1, momentum 0.5; the gradients are 2 (y - t) (d, e).

    Rate 0.1:  y = 0.5,  gradients (-1, -0.5),       velocities (-1, -0.5),       e = 0.6,     d = 1.05.
    Rate 0.05: y = 0.63, gradients (-0.777, -0.444), velocities (-1.277, -0.694), e = 0.66385, d = 1.0847.
    """
    found = two_steps(OracleOptimizer(scalar_oracle(), RECIPES["momentum"]))
    assert found == pytest.approx([0.25, 0.1369, 0.66385, 1.0847], rel=ROUNDING)


class RateInsideVelocity(OracleOptimizer):
    """v <- momentum v + rate g; w <- w - v: the same until the rate changes."""

    def accelerate(self, name, gradient):
        return super().accelerate(name, self.learning_rate * gradient) / self.learning_rate


class EpsilonInsideRoot(OracleOptimizer):
    """m^ / sqrt(v^ + epsilon)."""

    def adam(self, name, gradient):
        epsilon, right = self.recipe.epsilon, super().adam(name, gradient)
        root = np.sqrt(self.state[f"second_moment/{name}"] / (1 - 0.999**self.steps))
        return right * (root + epsilon) / np.sqrt(root**2 + epsilon)


class DecayInGradient(OracleOptimizer):
    """L2 regularisation, which Adam's quotient swallows."""

    def descend(self, name, gradient):
        direction = self.direction(name, gradient + DECAY * self.oracle.weights[name])
        self.oracle.weights[name] = self.oracle.weights[name] - self.learning_rate * direction


class Uncorrected(OracleOptimizer):
    """Corrects the moments at every step as if it were the first."""

    def adam(self, name, gradient):
        self.steps = 1
        return super().adam(name, gradient)


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (RateInsideVelocity, "momentum"),
        (EpsilonInsideRoot, "adam"),
        (Uncorrected, "adam"),
        (DecayInGradient, "adamw"),
    ],
)
def test_a_broken_optimizer_fails_the_same_check(broken, name):
    assert two_steps(broken(scalar_oracle(), RECIPES[name])) != pytest.approx(by_hand(RULES[name]), rel=1e-3)


def test_the_state_is_the_velocity_or_the_two_moments():
    """Of two steps with the gradients above: e's are -1 and then -0.777 with momentum."""
    optimizer = OracleOptimizer(scalar_oracle(), RECIPES["momentum"])
    two_steps(optimizer)
    assert optimizer.state.keys() == {f"momentum/{ENCODER}", f"momentum/{DECODER}"}
    assert optimizer.state[f"momentum/{ENCODER}"].item() == pytest.approx(-1.277, rel=ROUNDING)

    adam, one = OracleOptimizer(scalar_oracle(), RECIPES["adam"]), np.array([[1.0]])
    adam.step(one, one)
    kinds = ("first_moment", "second_moment")
    assert set(adam.state) == {f"{kind}/{name}" for kind in kinds for name in (ENCODER, DECODER)}
    assert adam.state[f"first_moment/{DECODER}"].item() == pytest.approx(0.1 * -0.5, rel=ROUNDING)
    assert adam.state[f"second_moment/{DECODER}"].item() == pytest.approx(0.001 * 0.25, rel=1e-12)

    plain = OracleOptimizer(scalar_oracle(), RECIPES["sgd"])
    two_steps(plain)
    assert plain.state == {}


@pytest.mark.parametrize("name", RECIPES)
def test_float32_stays_float32(name):
    model = FullyConnected(widths=(6, 4))
    images = np.random.default_rng(2).random((10, 6))
    optimizer = OracleOptimizer(Oracle(model, initial_weights(model), dtype=np.float32), RECIPES[name])
    optimizer.train(images, batch_order(10, 4))
    arrays = [*optimizer.oracle.weights.values(), *optimizer.state.values()]
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


@pytest.mark.parametrize("objective", ["standard", "contractive"])
def test_the_objective_decides_about_the_penalty(objective):
    model = FullyConnected(widths=(6, 4), code_activation="sigmoid")
    oracle, images = Oracle(model, initial_weights(model)), np.random.default_rng(2).random((3, 6))
    recipe = Recipe(optimizer="sgd", objective=objective, contraction=0.5)
    penalty = oracle.loss(images, images, contraction=0.5) - oracle.loss(images, images)
    assert penalty > 0.01
    found = OracleOptimizer(oracle, recipe).gradients(images, images)[0] - oracle.loss(images, images)
    assert found == pytest.approx(penalty if objective == "contractive" else 0, rel=1e-12)


def test_training_is_a_step_for_each_batch_in_order():
    model = FullyConnected(widths=(6, 4))
    images = np.random.default_rng(2).random((10, 6))
    batches = list(batch_order(10, 4, seed=1))
    trained, stepped = (OracleOptimizer(Oracle(model, initial_weights(model)), RECIPES["adam"]) for _ in range(2))
    losses = trained.train(images, batches)
    assert losses == [stepped.step(images[batch], images[batch]) for batch in batches]
    assert len(losses) == 3
    for name, weight in trained.oracle.weights.items():
        np.testing.assert_array_equal(weight, stepped.oracle.weights[name])


def test_training_lowers_the_error():
    model = FullyConnected(widths=(6, 4))
    images = np.random.default_rng(2).random((20, 6))
    batches = [batch for epoch in range(100) for batch in batch_order(20, 5, epoch=epoch)]
    recipe = Recipe(optimizer="sgd", learning_rate=1.0, momentum=0.5)
    losses = OracleOptimizer(Oracle(model, initial_weights(model)), recipe).train(images, batches)
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
