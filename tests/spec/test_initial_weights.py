"""Starting weights depend on the architecture and the seed alone, and are spread as PyTorch's are."""

import math
import zlib

import numpy as np
import pytest

from core_torch.spec.architecture import ARCHITECTURES, FullyConnected, parameter_shapes
from core_torch.spec.initial_weights import initial_weights

# {parameter: fan_in}, written out by hand for two architectures that hold every kind of layer.
FAN_IN = {
    "shallow": {"encoder.0": 784, "decoder.0": 200},
    "conv-deep": {
        "encoder.0": 1 * 5 * 5,
        "encoder.3": 10 * 5 * 5,
        "encoder.6": 20 * 3 * 3,
        "encoder.10": 50 * 3 * 3,
        "decoder.0": 100,
        "decoder.3": 20 * 3 * 3,  # transposed: its outputs times the kernel's area
        "decoder.5": 10 * 5 * 5,
        "decoder.7": 1 * 5 * 5,
    },
}
PARAMETERS = [(model, layer, kind) for model in FAN_IN for layer in FAN_IN[model] for kind in ("weight", "bias")]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_shapes_and_type_are_the_references(name):
    weights = initial_weights(ARCHITECTURES[name])
    assert [(key, value.shape) for key, value in weights.items()] == list(parameter_shapes(ARCHITECTURES[name]).items())
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    assert all(value.flags.c_contiguous for value in weights.values())


def test_the_seed_decides_everything():
    model = ARCHITECTURES["conv-deep"]
    first, again, other = (
        initial_weights(model, seed=1),
        initial_weights(model, seed=1),
        initial_weights(model, seed=2),
    )
    for name in first:
        assert first[name].tobytes() == again[name].tobytes()
        assert not np.any(first[name] == other[name])


def test_the_starting_point_is_the_published_one():
    """A NumPy that drew otherwise would break every stored result: these numbers never change."""
    weights = initial_weights(ARCHITECTURES["shallow"], seed=0)
    assert {name: zlib.crc32(value.astype("<f4").tobytes()) for name, value in weights.items()} == {
        "encoder.0.weight": 126493409,
        "encoder.0.bias": 3874923440,
        "decoder.0.weight": 2012053203,
        "decoder.0.bias": 1734889109,
    }


def is_uniform(values: np.ndarray, bound: float) -> bool:
    """Inside +-bound up to rounding, reaching far into both ends, with the mean and spread of a uniform draw.

    The tolerances are five standard deviations of the mean, and of the variance (kurtosis 1.8).
    """
    count, deviation = values.size, bound / math.sqrt(3)
    inside = np.abs(values).max() <= np.float32(bound)
    reaches = values.max() > bound * (1 - 10 / count) and values.min() < -bound * (1 - 10 / count)
    centred = abs(values.mean(dtype=np.float64)) < 5 * deviation / math.sqrt(count)
    spread = abs(values.var(dtype=np.float64) / deviation**2 - 1) < 5 * math.sqrt(0.8 / count)
    return bool(inside and reaches and centred and spread)


@pytest.mark.parametrize(("model", "layer", "kind"), PARAMETERS)
def test_values_are_uniform_within_one_over_the_root_of_fan_in(model, layer, kind):
    values = initial_weights(ARCHITECTURES[model])[f"{layer}.{kind}"]
    assert is_uniform(values, 1 / math.sqrt(FAN_IN[model][layer])) or values.size < 20
    assert np.abs(values).max() <= np.float32(1 / math.sqrt(FAN_IN[model][layer]))


def test_another_fan_in_a_shift_or_glorots_bound_would_be_noticed():
    values = initial_weights(ARCHITECTURES["shallow"])["encoder.0.weight"]
    bound = 1 / math.sqrt(784)
    assert is_uniform(values, bound)
    assert not is_uniform(values, 1 / math.sqrt(200))
    assert not is_uniform(values, 1.01 * bound)
    assert not is_uniform(values + 0.01 * bound, bound)
    assert not is_uniform(values * math.sqrt(6 / 984) / bound, bound)
    normal = np.random.default_rng(0).normal(0, bound / math.sqrt(3), values.shape)
    assert not is_uniform(normal, bound)


def test_a_tied_decoders_biases_use_the_fan_in_of_their_own_layer():
    weights = initial_weights(FullyConnected(widths=(1000, 4, 900), tied=True))
    assert list(weights) == [
        *("encoder.0.weight", "encoder.0.bias", "encoder.2.weight", "encoder.2.bias"),
        *("decoder.0.bias", "decoder.2.bias"),
    ]
    assert np.abs(weights["decoder.0.bias"]).max() <= np.float32(1 / math.sqrt(900))
    assert is_uniform(weights["decoder.2.bias"], 1 / math.sqrt(4))
    assert is_uniform(weights["encoder.2.bias"], 1 / math.sqrt(4))
