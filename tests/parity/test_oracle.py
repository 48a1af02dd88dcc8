"""The judge is judged: against loops, central differences and numbers worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from core_torch.parity.oracle import network as oracle_module
from core_torch.parity.oracle.activations import CURVATURES, SLOPES, VALUES, sigmoid
from core_torch.parity.oracle.convolution import (
    convolution,
    convolution_gradients,
    max_pooling,
    max_pooling_gradient,
    pooled_where_largest,
    transposed_convolution,
    transposed_convolution_gradients,
)
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.architecture import Convolutional, FullyConnected
from core_torch.spec.batch_order import batch_order
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.layers import ACTIVATIONS, Convolution, TransposedConvolution
from core_torch.spec.recipe import Recipe

STEP = 1e-5  # of the central differences; truncation ~ STEP^2, rounding ~ 1e-16 / STEP
AGREEMENT = 1e-7  # relative distance below which two gradients are the same one
BROKEN = 1e-3  # a distance that no rounding explains

DENSE = FullyConnected(widths=(6, 6, 3))
SMOOTH = {"hidden_activation": "tanh", "code_activation": "silu"}
SMALL = {"side": 7, "filters": (2,), "kernel_sizes": (3,), "code_width": 4, **SMOOTH}
MODELS = {
    **{f"hidden {name}": replace(DENSE, hidden_activation=name) for name in ACTIVATIONS},
    **{f"code {name}": replace(DENSE, code_activation=name) for name in ACTIVATIONS},
    **{f"output {name}": replace(DENSE, output_activation=name) for name in ACTIVATIONS},
    "no bias": replace(DENSE, bias=False),
    "tied": replace(DENSE, tied=True),
    "tied, no bias": replace(DENSE, tied=True, bias=False),
    "tied, deep": FullyConnected(widths=(6, 5, 5, 4), tied=True, code_activation="silu"),
    "convolution": Convolutional(**SMALL),
    "convolution, relu": Convolutional(**(SMALL | {"hidden_activation": "relu"})),
    "even side": Convolutional(**(SMALL | {"side": 8})),
    "even kernel": Convolutional(**(SMALL | {"kernel_sizes": (4,)})),
    "no pooling": Convolutional(**(SMALL | {"pool_every": 0})),
    "two channels": Convolutional(**(SMALL | {"channels": 2})),
    "deep convolution": Convolutional(**(SMALL | {"filters": (2, 3), "kernel_sizes": (4, 3)})),
    "pooled every second": Convolutional(**(SMALL | {"filters": (2, 3), "kernel_sizes": (2, 5), "pool_every": 2})),
}


def prepared(model) -> tuple[Oracle, np.ndarray, np.ndarray]:
    """An oracle with spread-out weights, inputs (3, P) and targets (3, P)."""
    generator = np.random.default_rng(7)
    weights = {name: 2 * value for name, value in initial_weights(model, seed=3).items()}
    inputs, targets = generator.random((2, 3, math.prod(model.input_shape)))
    return Oracle(model, weights), inputs, targets


def central_differences(function, array: np.ndarray) -> np.ndarray:
    """d function() / d array, element by element; the array is changed in place and restored."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + STEP
        above = function()
        array[index] = value - STEP
        gradient[index] = (above - function()) / (2 * STEP)
        array[index] = value
    return gradient


def distance(left: np.ndarray, right: np.ndarray) -> float:
    """||left - right|| / ||right||; not a number where the right one vanishes, which passes no comparison."""
    return float(np.linalg.norm(left - right) / np.linalg.norm(right))


def gradient_distances(oracle: Oracle, inputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """{name: distance between the oracle's gradient and central differences of its loss}."""
    gradients = oracle.gradients(inputs, targets)[1]
    return {
        name: distance(gradients[name], central_differences(lambda: oracle.loss(inputs, targets), weight))
        for name, weight in oracle.weights.items()
    }


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_central_differences(name):
    oracle, inputs, targets = prepared(MODELS[name])
    distances = gradient_distances(oracle, inputs, targets)
    assert distances.keys() == oracle.weights.keys()
    assert all(value < AGREEMENT for value in distances.values())


@pytest.mark.parametrize("name", ["code silu", "tied", "deep convolution"])
def test_the_pull_back_of_the_code_to_the_input_is_that_of_central_differences(name):
    oracle, inputs, _ = prepared(MODELS[name])
    encoder = [(layer_name, layer) for layer_name, layer in oracle.layers if layer_name.startswith("encoder")]
    record = oracle.activations(inputs)
    direction = np.random.default_rng(1).normal(size=record[oracle.code_layer].shape)
    pulled = oracle.pull_back(record, direction, encoder, {}).reshape(inputs.shape)
    expected = central_differences(
        lambda: float(np.sum(oracle.activations(inputs)[oracle.code_layer] * direction)), inputs
    )
    assert distance(pulled, expected) < AGREEMENT


class Transposed(Oracle):
    """Returns the gradient of one square weight transposed."""

    def gradients(self, inputs, targets):
        loss, gradients = super().gradients(inputs, targets)
        return loss, gradients | {"encoder.0.weight": gradients["encoder.0.weight"].T}


class Flipped(Oracle):
    """Returns the gradient of one bias with the wrong sign."""

    def gradients(self, inputs, targets):
        loss, gradients = super().gradients(inputs, targets)
        return loss, gradients | {"decoder.0.bias": -gradients["decoder.0.bias"]}


class Scaled(Oracle):
    """Averages over images and sums over pixels."""

    def gradients(self, inputs, targets):
        loss, gradients = super().gradients(inputs, targets)
        return loss, {name: value * inputs.shape[1] for name, value in gradients.items()}


class TiedForgotten(Oracle):
    """Lets the tied decoder add nothing to the encoder's gradient."""

    def backward(self, name, layer, x, upstream):
        down, own = super().backward(name, layer, x, upstream)
        return down, {key: value for key, value in own.items() if key.startswith(name)}


@pytest.mark.parametrize(
    ("broken", "model", "parameter"),
    [
        (Transposed, DENSE, "encoder.0.weight"),
        (Flipped, DENSE, "decoder.0.bias"),
        (Scaled, DENSE, "decoder.2.weight"),
        (TiedForgotten, MODELS["tied"], "encoder.0.weight"),
    ],
)
def test_a_broken_oracle_fails_the_same_check(broken, model, parameter):
    oracle, inputs, targets = prepared(model)
    assert gradient_distances(broken(model, oracle.weights), inputs, targets)[parameter] > BROKEN


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "silu", "relu"])
def test_a_wrong_derivative_fails_the_same_check(monkeypatch, name):
    monkeypatch.setitem(SLOPES, name, np.ones_like)
    distances = gradient_distances(*prepared(replace(DENSE, hidden_activation=name)))
    assert distances["encoder.0.weight"] > BROKEN


@pytest.mark.parametrize("rule", ["convolution_gradients", "transposed_convolution_gradients"])
def test_a_flipped_kernel_in_the_backward_pass_fails_the_same_check(monkeypatch, rule):
    right = getattr(oracle_module, rule)
    monkeypatch.setattr(oracle_module, rule, lambda x, weight, *rest: right(x, weight[..., ::-1], *rest))
    distances = gradient_distances(*prepared(MODELS["deep convolution"]))
    assert any(value > BROKEN for value in distances.values())


Z = np.array([-800.0, -30.0, -1.5, -1e-9, 0.0, 1e-9, 0.5, 2.0, 30.0, 800.0])


def stable_sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


FORMULAS = {
    "relu": lambda z: z if z > 0 else 0.0,
    "sigmoid": stable_sigmoid,
    "tanh": math.tanh,
    "silu": lambda z: z * stable_sigmoid(z),
    "linear": lambda z: z,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_its_formula_even_far_out(name):
    with np.errstate(all="raise", under="ignore"):
        found = VALUES[name](Z)
    np.testing.assert_allclose(found, [FORMULAS[name](z) for z in Z], rtol=1e-14, atol=1e-13)
    assert VALUES[name](Z.astype(np.float32)).dtype == np.float32
    assert SLOPES[name](Z.astype(np.float32)).dtype == np.float32
    if name in CURVATURES:
        assert CURVATURES[name](Z.astype(np.float32)).dtype == np.float32


SMOOTH_Z = np.array([-9.0, -1.5, -0.2, 0.0, 0.5, 2.0, 9.0])


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "silu", "linear"])
def test_a_slope_and_a_curvature_are_central_differences(name):
    curvature = CURVATURES.get(name, np.zeros_like)
    for function, derivative in ((VALUES[name], SLOPES[name]), (SLOPES[name], curvature)):
        expected = (function(SMOOTH_Z + STEP) - function(SMOOTH_Z - STEP)) / (2 * STEP)
        np.testing.assert_allclose(derivative(SMOOTH_Z), expected, rtol=0, atol=1e-10)
        if name != "linear":
            assert np.max(np.abs(-derivative(SMOOTH_Z) - expected)) > BROKEN


def test_the_derivative_of_relu_is_0_at_0():
    assert SLOPES["relu"](np.array([-1.0, 0.0, -0.0, 1.0])).tolist() == [0, 0, 0, 1]


def looped_convolution(x, weight, bias, layer):
    """y[n,o,i,j] = b[o] + sum over c, u, v of x[n,c,i s+u-p,j s+v-p] w[o,c,u,v], zero outside the image."""
    before, after = layer.padding
    side = (x.shape[2] + before + after - layer.kernel) // layer.stride + 1
    y = np.zeros((len(x), layer.outputs, side, side))
    for n, o, i, j, c, u, v in np.ndindex(*y.shape, layer.inputs, layer.kernel, layer.kernel):
        row, column = i * layer.stride + u - before, j * layer.stride + v - before
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            y[n, o, i, j] += x[n, c, row, column] * weight[o, c, u, v]
    return y + bias[:, None, None]


CONVOLUTIONS = [
    Convolution(2, 3, 3, padding=(1, 1)),
    Convolution(2, 3, 4, padding=(1, 2)),
    Convolution(2, 1, 3, stride=2, padding=(0, 1)),
    Convolution(1, 2, 2, stride=3),
    Convolution(2, 2, 1),
]


@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=str)
def test_a_convolution_is_its_loop_and_its_gradients_are_central_differences(layer):
    generator = np.random.default_rng(5)
    x = generator.normal(size=(2, layer.inputs, 6, 6))
    weight = generator.normal(size=(layer.outputs, layer.inputs, layer.kernel, layer.kernel))
    bias = generator.normal(size=layer.outputs)
    y = convolution(x, weight, bias, layer)
    np.testing.assert_allclose(y, looped_convolution(x, weight, bias, layer), rtol=0, atol=1e-13)
    upstream = generator.normal(size=y.shape)
    down, own = convolution_gradients(x, weight, upstream, layer)
    for array, gradient in ((x, down), (weight, own)):
        expected = central_differences(lambda: float(np.sum(convolution(x, weight, bias, layer) * upstream)), array)
        assert distance(gradient, expected) < AGREEMENT


def looped_transposed_convolution(x, weight, bias, layer):
    """Every input pixel lays its kernel down at (i s, j s); then the crop."""
    full = np.zeros((len(x), layer.outputs, *[(x.shape[2] - 1) * layer.stride + layer.kernel] * 2))
    for n, c, i, j, o, u, v in np.ndindex(*x.shape, layer.outputs, layer.kernel, layer.kernel):
        full[n, o, i * layer.stride + u, j * layer.stride + v] += x[n, c, i, j] * weight[c, o, u, v]
    before, end = layer.crop[0], full.shape[2] - layer.crop[1]
    return full[:, :, before:end, before:end] + bias[:, None, None]


TRANSPOSED = [
    TransposedConvolution(2, 3, 3),
    TransposedConvolution(2, 3, 3, crop=(1, 1)),
    TransposedConvolution(2, 1, 5, stride=2, crop=(1, 2)),
    TransposedConvolution(1, 2, 2, stride=3),
]


@pytest.mark.parametrize("layer", TRANSPOSED, ids=str)
def test_a_transposed_convolution_is_its_loop_and_its_gradients_are_central_differences(layer):
    generator = np.random.default_rng(6)
    x = generator.normal(size=(2, layer.inputs, 4, 4))
    weight = generator.normal(size=(layer.inputs, layer.outputs, layer.kernel, layer.kernel))
    bias = generator.normal(size=layer.outputs)
    y = transposed_convolution(x, weight, bias, layer)
    np.testing.assert_allclose(y, looped_transposed_convolution(x, weight, bias, layer), rtol=0, atol=1e-13)
    upstream = generator.normal(size=y.shape)
    down, own = transposed_convolution_gradients(x, weight, upstream, layer)
    for array, gradient in ((x, down), (weight, own)):
        expected = central_differences(
            lambda: float(np.sum(transposed_convolution(x, weight, bias, layer) * upstream)), array
        )
        assert distance(gradient, expected) < AGREEMENT


def test_pooling_takes_the_maximum_and_drops_the_remainder():
    x = np.arange(25.0).reshape(1, 1, 5, 5)
    assert max_pooling(x, 2).tolist() == [[[[6, 8], [16, 18]]]]
    assert max_pooling(x, 3).tolist() == [[[[12]]]]


def test_poolings_gradient_goes_to_the_first_maximum_alone():
    x = np.array([[1.0, 1, 0, 2, 9], [1, 1, 2, 2, 9], [0, 0, 3, 1, 9], [0, 5, 1, 3, 9], [9, 9, 9, 9, 9]])[None, None]
    down = max_pooling_gradient(x, np.array([[[[1.0, 2], [3, 4]]]]), 2)
    assert down[0, 0].tolist() == [
        [1, 0, 0, 2, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 4, 0, 0],
        [0, 3, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_pooling_by_another_image_takes_its_value_at_the_first_maximum():
    x = np.array([[1.0, 1, 0, 2], [1, 1, 2, 2], [0, 0, 3, 1], [0, 5, 1, 3]])[None, None]
    values = np.arange(16.0).reshape(1, 1, 4, 4)
    assert pooled_where_largest(x, values, 2).tolist() == [[[[0, 3], [13, 10]]]]
    np.testing.assert_array_equal(pooled_where_largest(x, x, 2), max_pooling(x, 2))


def test_the_forward_pass_is_the_one_written_by_hand():
    oracle, inputs, targets = prepared(DENSE)
    w = oracle.weights
    hidden = np.maximum(inputs @ w["encoder.0.weight"].T + w["encoder.0.bias"], 0)
    code = np.maximum(hidden @ w["encoder.2.weight"].T + w["encoder.2.bias"], 0)
    back = np.maximum(code @ w["decoder.0.weight"].T + w["decoder.0.bias"], 0)
    output = sigmoid(back @ w["decoder.2.weight"].T + w["decoder.2.bias"])
    record = oracle.activations(inputs)
    np.testing.assert_allclose(record[oracle.code_layer], code, rtol=1e-14)
    np.testing.assert_allclose(record["output"], output, rtol=1e-14)
    assert oracle.loss(inputs, targets) == pytest.approx(np.sum((output - targets) ** 2) / output.size, rel=1e-14)
    assert oracle.loss(inputs, targets) == oracle.gradients(inputs, targets)[0]


def test_a_tied_oracle_computes_what_the_untied_one_with_copied_weights_does():
    tied, inputs, _ = prepared(MODELS["tied, deep"])
    copies = {f"decoder.{index}.weight": tied.weights[f"encoder.{4 - index}.weight"].T for index in (0, 2, 4)}
    untied = Oracle(replace(MODELS["tied, deep"], tied=False), tied.weights | copies)
    np.testing.assert_array_equal(tied.activations(inputs)["output"], untied.activations(inputs)["output"])


def test_images_may_come_flat_or_with_their_sides():
    oracle, inputs, _ = prepared(MODELS["two channels"])
    flat = oracle.activations(inputs)["output"]
    np.testing.assert_array_equal(oracle.activations(inputs.reshape(3, 2, 7, 7))["output"], flat)
    assert flat.shape == (3, 2 * 7 * 7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_callers_weights_are_copied(dtype):
    model = FullyConnected(widths=(6, 4))
    weights = {name: value.astype(dtype) for name, value in initial_weights(model).items()}
    before = {name: value.copy() for name, value in weights.items()}
    images = np.random.default_rng(2).random((3, 6))
    oracle = Oracle(model, weights, dtype=dtype)
    loss = oracle.loss(images, images)
    OracleOptimizer(oracle, Recipe(optimizer="sgd", learning_rate=1)).step(images, images)
    assert all(np.array_equal(weights[name], before[name]) for name in weights)
    untouched = Oracle(model, weights, dtype=dtype)
    for value in weights.values():
        value[:] = 0
    assert untouched.loss(images, images) == loss


FLOAT32_STEP = 2.0**-24  # half the distance from 1 to the next float32


@pytest.mark.parametrize("name", ["hidden relu", "tied", "deep convolution"])
def test_a_float32_oracle_differs_by_rounding_only(name):
    model = MODELS[name]
    weights = initial_weights(model)
    images = np.random.default_rng(4).random((8, math.prod(model.input_shape))).astype(np.float32)
    exact, rounded = Oracle(model, weights), Oracle(model, weights, dtype=np.float32)
    recipe = Recipe(optimizer="sgd", learning_rate=0.125, momentum=0.5)
    for oracle in (exact, rounded):
        OracleOptimizer(oracle, recipe).train(images, batch_order(8, 3))
    for key in weights:
        assert rounded.weights[key].dtype == np.float32
        assert exact.weights[key].dtype == np.float64
        moved = exact.weights[key] - weights[key]
        # The stored weight itself is rounded three times, once a step, to half a unit of its own size.
        lost = np.linalg.norm(rounded.weights[key] - exact.weights[key])
        assert lost < 3 * FLOAT32_STEP * np.linalg.norm(exact.weights[key]) + 1e-5 * np.linalg.norm(moved)
    assert any(np.any(rounded.weights[key] != exact.weights[key]) for key in weights)


def test_every_array_of_a_float32_oracle_is_float32():
    for name in ("hidden silu", "deep convolution"):
        oracle, inputs, targets = prepared(MODELS[name])
        rounded = Oracle(MODELS[name], oracle.weights, dtype=np.float32)
        assert {value.dtype for value in rounded.activations(inputs).values()} == {np.dtype(np.float32)}
        assert {value.dtype for value in rounded.gradients(inputs, targets)[1].values()} == {np.dtype(np.float32)}
