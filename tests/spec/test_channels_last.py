"""The layout of frameworks that keep channels last: there and back, and a forward pass written in it."""

from dataclasses import replace

import numpy as np
import pytest

from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec import channels_last
from core_torch.spec.architecture import Architecture, Convolutional, FullyConnected
from core_torch.spec.channels_last import from_channels_last, to_channels_last
from core_torch.spec.errors import CheckpointError
from core_torch.spec.initial_weights import initial_weights

MODELS: dict[str, Architecture] = {
    "dense": FullyConnected(widths=(9, 4, 3)),
    "square": FullyConnected(widths=(5, 5), bias=False),
    "convolutional": Convolutional(side=8, filters=(2, 3), kernel_sizes=(3, 3), code_width=4),
    "unpooled": Convolutional(side=5, filters=(2,), kernel_sizes=(3,), pool_every=0, code_width=4),
}


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back_changes_nothing(name):
    weights = initial_weights(MODELS[name])
    there = to_channels_last(weights, MODELS[name])
    back = from_channels_last(there, MODELS[name])
    assert all(np.array_equal(back[key], weights[key]) for key in weights)
    assert all(array.flags.c_contiguous for array in [*there.values(), *back.values()])
    assert {key: array.shape for key, array in there.items()} == {
        key: array.shape[::-1] for key, array in weights.items()
    }


def code_in_channels_last(weights: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """The unpooled model's code as a framework with channels last computes it: images (N, H, W, 1)."""
    kernel, bias = weights["encoder.0.weight"], weights["encoder.0.bias"]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    maps = sum(padded[:, u : u + 5, v : v + 5] @ kernel[u, v] for u in range(3) for v in range(3)) + bias
    flat = np.maximum(maps, 0).reshape(len(images), -1)
    return np.maximum(flat @ weights["encoder.3.weight"] + weights["encoder.3.bias"], 0)


def differs_from_the_oracle() -> bool:
    model = MODELS["unpooled"]
    weights = {name: value.astype(np.float64) for name, value in initial_weights(model, seed=3).items()}
    images = np.random.default_rng(0).random((4, 5, 5, 1))
    expected = Oracle(model, weights).activations(images.reshape(4, -1))["encoder.4"]
    found = code_in_channels_last(to_channels_last(weights, model), images)
    return not np.allclose(found, expected, rtol=0, atol=1e-12)


def test_a_forward_pass_in_that_layout_gives_the_oracles_code():
    assert not differs_from_the_oracle()


def test_without_the_flatten_order_it_would_not(monkeypatch):
    monkeypatch.setattr(channels_last, "flatten_boundaries", lambda architecture: {})
    assert differs_from_the_oracle()


def test_the_weights_of_another_model_are_refused():
    weights = initial_weights(MODELS["dense"])
    with pytest.raises(CheckpointError, match="shape"):
        to_channels_last(weights, replace(MODELS["dense"], widths=(9, 4, 2)))
    with pytest.raises(CheckpointError, match="missing"):
        from_channels_last({}, MODELS["dense"])
