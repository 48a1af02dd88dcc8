"""Layouts: how the weights of each kind of layer lie in PyTorch and in Keras, both ways and exact.

PyTorch keeps outputs before inputs and channels before pixels; Keras the reverse. Flax and Equinox lay dense and
convolution kernels out as Keras and PyTorch do, in this order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Arrays = dict[str, np.ndarray]
Turn = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Layout:
    """One layer's weights in both frameworks.

    Attributes:
        torch: names after the layer's own, in PyTorch.
        keras: names of the layer's variables, in Keras.
        to_keras: arrays in PyTorch's names -> arrays in Keras's.
        to_torch: the reverse. What Keras has once and PyTorch twice comes back in the first of the two.
    """

    torch: tuple[str, ...]
    keras: tuple[str, ...]
    to_keras: Callable[[Arrays], Arrays]
    to_torch: Callable[[Arrays], Arrays]


def _renamed(**names: str) -> Layout:
    """Equal arrays under other names; {PyTorch's: Keras's}."""
    return _layout({name: (other, _same, _same) for name, other in names.items()})


def _layout(table: Mapping[str, tuple[str, Turn, Turn]]) -> Layout:
    """Array for array: {PyTorch's name: (Keras's name, there, back)}."""
    return Layout(
        tuple(table),
        tuple(name for name, _, _ in table.values()),
        lambda arrays: {other: there(arrays[name]) for name, (other, there, _) in table.items() if name in arrays},
        lambda arrays: {name: back(arrays[other]) for name, (other, _, back) in table.items() if other in arrays},
    )


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _turned(array: np.ndarray) -> np.ndarray:
    """(outputs, inputs, ...pixels) <-> (...pixels, inputs, outputs), of both convolutions and of dense layers."""
    return array.transpose(*range(2, array.ndim), 1, 0)


def _turned_back(array: np.ndarray) -> np.ndarray:
    return array.transpose(array.ndim - 1, array.ndim - 2, *range(array.ndim - 2))


DENSE = _layout({"weight": ("kernel", _turned, _turned_back), "bias": ("bias", _same, _same)})
NORM = _renamed(weight="gamma", bias="beta", running_mean="moving_mean", running_var="moving_variance")
EMBEDDING = _renamed(weight="embeddings")


def depthwise(multiplier: int) -> Layout:
    """A convolution with a group for each channel: (C * M, 1, H, W) <-> (H, W, C, M)."""

    def there(kernel: np.ndarray) -> np.ndarray:
        outputs, _, height, width = kernel.shape
        return kernel.reshape(outputs // multiplier, multiplier, height, width).transpose(2, 3, 0, 1)

    def back(kernel: np.ndarray) -> np.ndarray:
        height, width, channels, _ = kernel.shape
        return kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)

    return _layout({"weight": ("kernel", there, back), "bias": ("bias", _same, _same)})


RECURRENT = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def lstm() -> Layout:
    """Both have the gates input, forget, cell, output. PyTorch has two biases, which it adds; Keras has one.

    Freeze `bias_hh_l0` at zero before recording: two biases that move together are no single one.
    """

    def there(arrays: Arrays) -> Arrays:
        weight_in, weight_hidden, *biases = (arrays[name] for name in RECURRENT if name in arrays)
        found = {"kernel": weight_in.T, "recurrent_kernel": weight_hidden.T}
        return found | ({"bias": np.sum(biases, axis=0, dtype=biases[0].dtype)} if biases else {})

    def back(arrays: Arrays) -> Arrays:
        found = {"weight_ih_l0": arrays["kernel"].T, "weight_hh_l0": arrays["recurrent_kernel"].T}
        if "bias" in arrays:
            found |= {"bias_ih_l0": arrays["bias"], "bias_hh_l0": np.zeros_like(arrays["bias"])}
        return found

    return Layout(RECURRENT, ("kernel", "recurrent_kernel", "bias"), there, back)


def gru() -> Layout:
    """PyTorch has the gates reset, update, new; Keras update, reset, new, with `reset_after`, and both biases."""

    def exchanged(packed: np.ndarray) -> np.ndarray:
        reset, update, new = np.split(packed, 3)
        return np.concatenate([update, reset, new])

    def there(arrays: Arrays) -> Arrays:
        turned = {name: exchanged(arrays[name]) for name in RECURRENT if name in arrays}
        found = {"kernel": turned["weight_ih_l0"].T, "recurrent_kernel": turned["weight_hh_l0"].T}
        if "bias_ih_l0" in turned:
            found["bias"] = np.stack([turned["bias_ih_l0"], turned["bias_hh_l0"]])
        return found

    def back(arrays: Arrays) -> Arrays:
        found = {
            "weight_ih_l0": exchanged(arrays["kernel"].T),
            "weight_hh_l0": exchanged(arrays["recurrent_kernel"].T),
        }
        if "bias" in arrays:
            found |= {"bias_ih_l0": exchanged(arrays["bias"][0]), "bias_hh_l0": exchanged(arrays["bias"][1])}
        return found

    return Layout(RECURRENT, ("kernel", "recurrent_kernel", "bias"), there, back)


PROJECTIONS = ("query", "key", "value")


def attention(heads: int) -> Layout:
    """PyTorch packs query, key and value into one matrix; Keras has a (width, heads, width / heads) kernel of each."""

    def there(arrays: Arrays) -> Arrays:
        found: Arrays = {}
        width = arrays["out_proj.weight"].shape[0]
        for name, weight in zip(PROJECTIONS, np.split(arrays["in_proj_weight"], 3), strict=True):
            found[f"{name}/kernel"] = weight.T.reshape(width, heads, -1)
        found["attention_output/kernel"] = arrays["out_proj.weight"].T.reshape(heads, -1, width)
        if "in_proj_bias" in arrays:
            for name, bias in zip(PROJECTIONS, np.split(arrays["in_proj_bias"], 3), strict=True):
                found[f"{name}/bias"] = bias.reshape(heads, -1)
            found["attention_output/bias"] = arrays["out_proj.bias"]
        return found

    def back(arrays: Arrays) -> Arrays:
        kernels = [arrays[f"{name}/kernel"] for name in PROJECTIONS]
        output = arrays["attention_output/kernel"]
        found = {
            "in_proj_weight": np.concatenate([kernel.reshape(len(kernel), -1).T for kernel in kernels]),
            "out_proj.weight": output.reshape(-1, output.shape[-1]).T,
        }
        if "query/bias" in arrays:
            found["in_proj_bias"] = np.concatenate([arrays[f"{name}/bias"].ravel() for name in PROJECTIONS])
            found["out_proj.bias"] = arrays["attention_output/bias"]
        return found

    names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    parts = (*PROJECTIONS, "attention_output")
    return Layout(names, tuple(f"{part}/{kind}" for part in parts for kind in ("kernel", "bias")), there, back)
