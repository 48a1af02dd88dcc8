"""The oracle's contractive penalty and its gradient, against central differences and a closed form."""

import math
from dataclasses import replace

import numpy as np
import pytest

from core_torch.parity.oracle import jacobian as oracle_jacobian
from core_torch.parity.oracle.activations import CURVATURES
from core_torch.parity.oracle.convolution import max_pooling
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.architecture import Architecture, Convolutional, FullyConnected
from core_torch.spec.initial_weights import initial_weights

STEP = 1e-5  # of the central differences; truncation ~ STEP^2, rounding ~ 1e-16 / STEP
AGREEMENT = 1e-7  # relative distance below which two results are the same one
BROKEN = 1e-3  # a distance that no rounding explains
CONTRACTION = 3.0  # the penalty outweighs the error

DENSE = FullyConnected(widths=(6, 5, 4, 3), hidden_activation="tanh", code_activation="sigmoid")
SMOOTH = {"hidden_activation": "tanh", "code_activation": "silu"}
POOLED = Convolutional(side=8, filters=(2, 3), kernel_sizes=(3, 2), strides=(2, 1), code_width=3, **SMOOTH)
MODELS: dict[str, Architecture] = {
    **{
        f"one layer, {name}": FullyConnected(widths=(6, 4), code_activation=name)
        for name in ("sigmoid", "tanh", "silu", "relu", "linear")
    },
    "deep": DENSE,
    "deep, silu": replace(DENSE, hidden_activation="silu", code_activation="silu"),
    "deep, kinked": replace(DENSE, hidden_activation="relu"),
    "no bias": replace(DENSE, bias=False),
    "tied": FullyConnected(widths=(6, 4), code_activation="sigmoid", tied=True),
    "deep, tied": replace(DENSE, tied=True),
    "pooled and strided": POOLED,
    "pooled, relu": replace(POOLED, hidden_activation="relu", code_activation="linear"),
    "pooled, two channels": replace(POOLED, side=7, channels=2, strides=(), hidden_activation="sigmoid"),
    "strided": replace(POOLED, strides=(2, 2), pool_every=0),
}


def prepared(model: Architecture, oracle_class: type[Oracle] = Oracle) -> tuple[Oracle, np.ndarray, np.ndarray]:
    """An oracle with spread-out weights, inputs (3, P) and targets (3, P)."""
    weights = {name: 2 * value for name, value in initial_weights(model, seed=3).items()}
    inputs, targets = np.random.default_rng(7).random((2, 3, math.prod(model.input_shape)))
    return oracle_class(model, weights), inputs, targets


def penalty(oracle: Oracle, inputs: np.ndarray) -> float:
    return oracle.loss(inputs, inputs, contraction=1) - oracle.loss(inputs, inputs)


def differences_norm_squared(oracle: Oracle, inputs: np.ndarray) -> float:
    """||J||_F^2 averaged over the images, J column by column by central differences."""

    def code(x: np.ndarray) -> np.ndarray:
        return oracle.activations(x)[oracle.code_layer]

    steps = STEP * np.eye(inputs.shape[1])
    columns = [(code(inputs + step) - code(inputs - step)) / (2 * STEP) for step in steps]
    return float(np.sum(np.square(columns))) / len(inputs)


def gradient_errors(oracle: Oracle, inputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """{name: how far the gradient along a random direction is from the loss's own change, relatively}."""
    generator, errors = np.random.default_rng(11), {}
    gradients = oracle.gradients(inputs, targets, contraction=CONTRACTION)[1]
    for name, weight in dict(oracle.weights).items():
        direction = generator.normal(size=weight.shape)
        around = []
        for step in (STEP, -STEP):
            oracle.weights[name] = weight + step * direction
            around.append(oracle.loss(inputs, targets, contraction=CONTRACTION))
        oracle.weights[name] = weight
        expected = (around[0] - around[1]) / (2 * STEP)
        errors[name] = abs(np.sum(gradients[name] * direction) - expected) / np.linalg.norm(gradients[name])
    return errors


@pytest.mark.parametrize("name", MODELS)
def test_the_penalty_is_the_squared_norm_of_the_encoder_s_jacobian(name):
    oracle, inputs, _ = prepared(MODELS[name])
    expected = differences_norm_squared(oracle, inputs)
    assert penalty(oracle, inputs) == pytest.approx(expected, rel=AGREEMENT)
    assert math.sqrt(penalty(oracle, inputs)) != pytest.approx(expected, rel=BROKEN)


@pytest.mark.parametrize("name", MODELS)
def test_its_gradient_is_that_of_central_differences(name):
    oracle, inputs, targets = prepared(MODELS[name])
    errors = gradient_errors(oracle, inputs, targets)
    assert errors.keys() == oracle.weights.keys()
    assert all(error < AGREEMENT for error in errors.values())


class BendForgotten(Oracle):
    """Carries no curved activation's gradient down to the layers below."""

    def pull_back(self, record, upstream, layers, gradients):
        return super().pull_back(record, upstream, layers, gradients) if layers is self.layers else upstream


def broken_errors(name: str, oracle_class: type[Oracle] = Oracle) -> float:
    return max(gradient_errors(*prepared(MODELS[name], oracle_class)).values())


@pytest.mark.parametrize("name", ["one layer, sigmoid", "deep", "deep, tied", "pooled and strided"])
def test_a_forgotten_bend_or_curvature_fails_the_same_check(monkeypatch, name):
    assert broken_errors(name, BendForgotten) > BROKEN
    for activation in CURVATURES:
        monkeypatch.setitem(CURVATURES, activation, np.zeros_like)
    assert broken_errors(name) > BROKEN


def test_a_pooling_that_takes_the_adjoint_s_own_maximum_fails_the_same_check(monkeypatch):
    monkeypatch.setattr(oracle_jacobian, "pooled_where_largest", lambda x, values, size: max_pooling(values, size))
    assert broken_errors("pooled, relu") > BROKEN


def test_one_sigmoid_layer_is_the_closed_form():
    """Rifai et al., ICML 2011, equation 6: ||J||_F^2 = sum_j (h_j (1 - h_j))^2 ||W_j||^2; its gradient by hand."""
    oracle, x, _ = prepared(MODELS["one layer, sigmoid"])
    weight, bias = oracle.weights["encoder.0.weight"], oracle.weights["encoder.0.bias"]
    h = 1 / (1 + np.exp(-(x @ weight.T + bias)))
    slope, squares = h * (1 - h), np.sum(weight**2, axis=1)
    bend = 2 * slope**2 * (1 - 2 * h) * squares  # of each image's norm, by the pre-activation
    expected = {
        "encoder.0.weight": (2 * np.sum(slope**2, axis=0)[:, None] * weight + bend.T @ x) / len(x),
        "encoder.0.bias": np.mean(bend, axis=0),
    }
    plain, contractive = (oracle.gradients(x, x, contraction=value) for value in (0.0, CONTRACTION))
    norm = np.mean(slope**2 @ squares)
    assert contractive[0] - plain[0] == pytest.approx(CONTRACTION * norm, rel=1e-13)
    for name in oracle.weights:
        found = contractive[1][name] - plain[1][name]
        np.testing.assert_allclose(found, CONTRACTION * expected.get(name, 0), rtol=1e-12, atol=1e-14)


def test_without_bends_or_kinks_it_is_the_norm_of_the_matrix():
    model = replace(DENSE, hidden_activation="linear", code_activation="linear")
    oracle, inputs, _ = prepared(model)
    matrix = np.linalg.multi_dot([oracle.weights[f"encoder.{index}.weight"] for index in (4, 2, 0)])
    assert penalty(oracle, inputs) == pytest.approx(np.sum(matrix**2), rel=1e-13)


@pytest.mark.parametrize("name", ["deep, tied", "pooled and strided"])
def test_the_loss_is_the_same_with_and_without_gradients_and_linear_in_the_contraction(name):
    oracle, inputs, targets = prepared(MODELS[name])
    alone, thrice = (oracle.loss(inputs, targets, contraction=value) for value in (1.0, 3.0))
    error = oracle.loss(inputs, targets)
    assert oracle.gradients(inputs, targets, contraction=3.0)[0] == thrice
    assert thrice - error == pytest.approx(3 * (alone - error), rel=1e-13)


@pytest.mark.parametrize("rows", [1, 4, 100])
@pytest.mark.parametrize("name", ["deep, tied", "pooled and strided"])
def test_the_result_does_not_depend_on_how_many_rows_are_carried_at_once(monkeypatch, name, rows):
    oracle, inputs, targets = prepared(MODELS[name])
    loss, gradients = oracle.gradients(inputs, targets, contraction=CONTRACTION)
    carried, right = [], oracle_jacobian.JacobianRows

    def watched(*arguments):
        carried.append(len(arguments[-1]))
        return right(*arguments)

    monkeypatch.setattr(oracle_jacobian, "JacobianRows", watched)
    monkeypatch.setattr(oracle_jacobian, "ROWS", rows)
    again = oracle.gradients(inputs, targets, contraction=CONTRACTION)
    assert sum(carried) == 3 * 3  # images, code units
    assert max(carried) == min(rows, 9)
    assert again[0] == pytest.approx(loss, rel=1e-14)
    for key, gradient in gradients.items():
        np.testing.assert_allclose(again[1][key], gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["deep, silu", "tied", "pooled and strided"])
def test_float32_stays_float32_and_differs_by_rounding(name):
    exact, inputs, targets = prepared(MODELS[name])
    rounded = Oracle(MODELS[name], exact.weights, dtype=np.float32)
    expected = exact.gradients(inputs, targets, contraction=CONTRACTION)[1]
    found = rounded.gradients(inputs, targets, contraction=CONTRACTION)[1]
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}
    for key, gradient in expected.items():
        assert 0 < np.linalg.norm(found[key] - gradient) < 1e-5 * np.linalg.norm(gradient)
