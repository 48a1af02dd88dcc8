"""Convolutional models restore every side; the oracle and torch agree; bad input is named."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.models.convolutional import DeepConvAutoencoder, ShallowConvAutoencoder
from core_torch.models.fully_connected import DeepAutoencoder, ShallowAutoencoder
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.architecture import (
    ARCHITECTURES,
    Architecture,
    Convolutional,
    FullyConnected,
    architecture_from,
    describe,
    parameter_shapes,
)
from core_torch.spec.errors import ConfigError
from core_torch.spec.layers import Convolution, TransposedConvolution
from core_torch.spec.presets import preset

MILLION = 1_000_000
DCEC = preset("dcec", "conv-deep", "standard")[0]
COMPARED = {
    **ARCHITECTURES,
    "tied": FullyConnected(tied=True, code_activation="sigmoid"),
    "deep, tied": FullyConnected(widths=(784, 30, 20, 10), tied=True, hidden_activation="tanh"),
    "dcec": DCEC,
    "even kernels": Convolutional(side=27, channels=2, filters=(3, 4), kernel_sizes=(4, 2), code_width=5),
    "strided and pooled": Convolutional(side=27, filters=(3, 4), kernel_sizes=(4, 3), strides=(2, 1)),
}


def size(architecture: Architecture) -> int:
    return sum(math.prod(shape) for shape in parameter_shapes(architecture).values())


@pytest.mark.parametrize("side", [28, 27, 32, 7])
@pytest.mark.parametrize("kernel_size", [5, 4, 2, 1])
@pytest.mark.parametrize("pool_every", [0, 1])
def test_the_shallow_model_restores_every_side(side, kernel_size, pool_every):
    model = ShallowConvAutoencoder(3, kernel_size, side=side, channels=2, code_width=4, pool_every=pool_every)
    output = model(torch.rand(2, 2, side, side))
    assert output.shape == (2, 2 * side * side)
    assert model.encode(torch.rand(2, 2 * side * side)).shape == (2, 4)


@pytest.mark.parametrize("side", [28, 27, 32, 7])
@pytest.mark.parametrize("kernel_sizes", [(5, 3), (4, 2), (3, 2)])
@pytest.mark.parametrize(("pool_every", "strides"), [(1, ()), (2, ()), (0, (2, 2)), (2, (1, 2))])
def test_the_deep_model_restores_every_side(side, kernel_sizes, pool_every, strides):
    shape = {"side": side, "pool_every": pool_every, "strides": strides}
    model = DeepConvAutoencoder((3, 4), kernel_sizes, code_width=4, **shape)
    assert model(torch.rand(2, 1, side, side)).shape == (2, side * side)


@pytest.mark.parametrize("name", COMPARED)
def test_oracle_and_torch_agree_in_outputs_and_gradients(name):
    """In float64, to 1e-12 of the largest value of each array."""
    architecture = COMPARED[name]
    model = build_autoencoder(architecture, seed=3).double()
    oracle = Oracle(architecture, {key: value.detach().numpy() for key, value in model.named_parameters()})
    generator = np.random.default_rng(0)
    inputs, targets = generator.random((2, 3, math.prod(architecture.input_shape)))
    loss, gradients = oracle.gradients(inputs, targets)
    output = model(torch.from_numpy(inputs))
    error = (output - torch.from_numpy(targets)).square().mean()
    error.backward()
    record = oracle.activations(inputs)
    assert close(output.detach().numpy(), record["output"])
    assert close(model.encode(torch.from_numpy(inputs)).detach().numpy(), record[oracle.code_layer])
    assert float(error.detach()) == pytest.approx(loss, rel=1e-12)
    assert gradients.keys() == dict(model.named_parameters()).keys()
    assert all(close(value.grad.numpy(), gradients[key]) for key, value in model.named_parameters())
    assert all(np.abs(gradient).max() > 0 for gradient in gradients.values())


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["conv-shallow", "conv-deep", "dcec"])
def test_a_shift_of_one_pixel_in_a_padding_is_found_out(name, monkeypatch):
    """The twin: a port that puts the odd zero before instead of after does not agree with the oracle."""
    architecture = COMPARED[name]
    if name != "dcec":
        architecture = replace(architecture, kernel_sizes=tuple(k - 1 for k in architecture.kernel_sizes))
    model = build_autoencoder(architecture, seed=3).double()
    oracle = Oracle(architecture, {key: value.detach().numpy() for key, value in model.named_parameters()})
    inputs = np.random.default_rng(0).random((3, 784))
    assert close(model(torch.from_numpy(inputs)).detach().numpy(), oracle.activations(inputs)["output"])
    before, after = model.encoder[0].zeros[:2]
    model.encoder[0].zeros = (after, before, after, before)
    assert not close(model(torch.from_numpy(inputs)).detach().numpy(), oracle.activations(inputs)["output"])


def test_the_convolutional_presets_have_fewer_than_a_million_parameters():
    for name in ("default", "best"):
        for model in ("conv-shallow", "conv-deep"):
            assert size(preset(name, model, "standard")[0]) < MILLION
    assert size(ShallowConvAutoencoder().architecture) == size(ARCHITECTURES["conv-shallow"])
    assert size(DeepConvAutoencoder().architecture) == size(ARCHITECTURES["conv-deep"])


def test_the_dcec_preset_is_the_published_network():
    """Guo et al. 2017, figure 1: 28 -> 14 -> 7 -> 3 -> 10 and back; 275,979 parameters counted by hand."""
    assert size(DCEC) == 275_979
    assert DCEC.encoder_layers()[0] == Convolution(1, 32, 5, 2, padding=(1, 2))
    assert DCEC.encoder_layers()[2] == Convolution(32, 64, 5, 2, padding=(1, 2))
    decoder = [layer for layer in DCEC.decoder_layers() if isinstance(layer, TransposedConvolution)]
    assert [layer.crop for layer in decoder] == [(0, 0), (1, 2), (1, 2)]
    record = Oracle(DCEC, {name: np.zeros(shape) for name, shape in parameter_shapes(DCEC).items()})
    sides = [value.shape[-1] for value in record.activations(np.zeros((1, 784))).values() if value.ndim == 4]
    assert sides == [28, 14, 14, 7, 7, 3, 3, 3, 7, 7, 14, 14, 28]
    assert architecture_from(describe(DCEC)) == DCEC


def test_a_valid_third_convolution_is_the_same_network():
    """DCEC's third convolution is unpadded: the zero that the contract puts after 7 pixels is never read."""
    model = build_autoencoder(DCEC)
    x = torch.rand(4, 64, 7, 7)
    third = model.encoder[4]
    plain = torch.nn.functional.conv2d(x, third.weight, third.bias, stride=2)
    assert torch.allclose(third(x), plain, atol=1e-6)


BAD = [
    (lambda: ShallowConvAutoencoder(0), r"filters\[0\]"),
    (lambda: ShallowConvAutoencoder(kernel_size=29), r"kernel_sizes\[0\]"),
    (lambda: ShallowConvAutoencoder(kernel_size=2.5), r"kernel_sizes\[0\]"),
    (lambda: ShallowConvAutoencoder(side=0), "side"),
    (lambda: ShallowConvAutoencoder(code_width=-1), "code_width"),
    (lambda: ShallowConvAutoencoder(channels=0), "channels"),
    (lambda: DeepConvAutoencoder(filters=20), "filters"),
    (lambda: DeepConvAutoencoder(filters=(4, 4)), "kernel_sizes"),
    (lambda: DeepConvAutoencoder(strides=(2,)), "strides"),
    (lambda: DeepConvAutoencoder(strides=(1, 1, 4)), r"strides\[2\]"),
    (lambda: DeepConvAutoencoder(strides=(1, 1, 0)), r"strides\[2\]"),
    (lambda: DeepConvAutoencoder(kernel_sizes=(5, 5, 8)), r"kernel_sizes\[2\]"),
    (lambda: DeepConvAutoencoder(hidden_activation="gelu"), "hidden_activation"),
    (lambda: ShallowAutoencoder(0), r"widths\[1\]"),
    (lambda: DeepAutoencoder((784,)), "widths"),
    (lambda: DeepAutoencoder((784, -5)), r"widths\[1\]"),
]


@pytest.mark.parametrize(("build", "name"), BAD)
def test_a_wrong_argument_is_named(build, name):
    with pytest.raises(ConfigError, match=f"^{name}: found .*, allowed: "):
        build()


def test_an_image_may_be_flat_or_square():
    model: Autoencoder = build_autoencoder(ARCHITECTURES["conv-deep"])
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(model(x), model(x.flatten(1)))
    assert torch.equal(model(x), model(x.squeeze(1)))
