"""The layers of the spec, forward and backward, over an exchangeable arithmetic; written without the oracle's code."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from core_torch.parity.candidate import Arrays
from core_torch.parity.right_ports.arithmetic import Arithmetic
from core_torch.parity.right_ports.convolvers import Im2col
from core_torch.parity.right_ports.functions import Curve
from core_torch.spec.architecture import Architecture, FullyConnected
from core_torch.spec.layers import (
    Activation,
    Convolution,
    Dense,
    Layer,
    MaxPooling,
    TransposedConvolution,
    Unflatten,
)

Place = tuple[str, Layer]


class NumpyNetwork:
    """An architecture's computation; weights are handed in with each call."""

    def __init__(
        self,
        architecture: Architecture,
        *,
        arithmetic: Arithmetic,
        convolver: Im2col,
        curves: Mapping[str, Curve],
    ) -> None:
        self.architecture, self.arithmetic, self.convolver, self.curves = architecture, arithmetic, convolver, curves
        self.encoder: list[Place] = named("encoder", architecture.encoder_layers())
        self.layers = self.encoder + named("decoder", architecture.decoder_layers())

    def forward(self, weights: Arrays, inputs: np.ndarray) -> list[np.ndarray]:
        """The input, and the output of every layer."""
        found = [inputs.reshape(len(inputs), *self.architecture.input_shape)]
        for place in self.layers:
            found.append(self.apply(place, weights, found[-1]))
        return found

    def apply(self, place: Place, weights: Arrays, x: np.ndarray) -> np.ndarray:
        """A layer's output."""
        name, layer = place
        if isinstance(layer, Activation):
            return self.curves[layer.name].value(x)
        if isinstance(layer, MaxPooling):
            result: np.ndarray = blocks_of(x, layer.size).max(axis=-1)
            return result
        found = self.push(place, weights, x, x)
        bias = weights.get(f"{name}.bias")
        if bias is None:
            return found
        return found + (bias if found.ndim == 2 else bias[:, None, None])

    def push(self, place: Place, weights: Arrays, x: np.ndarray, change: np.ndarray) -> np.ndarray:
        """The layer's derivative at x applied to `change`; of a linear layer, the layer without its bias."""
        name, layer = place
        match layer:
            case Dense():
                return self.arithmetic.product(change, self.matrix(name, weights).T)
            case Activation(kind):
                return change * self.curves[kind].slope(x)
            case Convolution():
                weight = weights[f"{name}.weight"]
                return self.convolver.correlate(change, weight, stride=layer.stride, padding=layer.padding)
            case TransposedConvolution():
                side = (change.shape[-1] - 1) * layer.stride + layer.kernel - sum(layer.crop)
                before, weight = layer.crop[0], weights[f"{name}.weight"]
                return self.convolver.scatter(change, weight, stride=layer.stride, before=before, side=side)
            case MaxPooling(size):
                first = blocks_of(x, size).argmax(axis=-1)[..., None]
                return np.take_along_axis(blocks_of(change, size), first, axis=-1)[..., 0]
            case Unflatten(channels, side):
                return change.reshape(len(change), channels, side, side)
            case _:
                return change.reshape(len(change), -1)

    def pull(self, place: Place, weights: Arrays, x: np.ndarray, above: np.ndarray) -> np.ndarray:
        """The adjoint of `push`: from the gradient above a layer to that below."""
        name, layer = place
        match layer:
            case Dense():
                return self.arithmetic.product(above, self.matrix(name, weights))
            case Activation(kind):
                return above * self.curves[kind].slope(x)
            case Convolution():
                before, weight = layer.padding[0], weights[f"{name}.weight"]
                side = x.shape[-1]
                return self.convolver.scatter(above, weight, stride=layer.stride, before=before, side=side)
            case TransposedConvolution():
                weight = weights[f"{name}.weight"]
                return self.convolver.correlate(above, weight, stride=layer.stride, padding=layer.crop)
            case MaxPooling(size):
                first = blocks_of(x, size).argmax(axis=-1)[..., None]
                routed = np.zeros((*above.shape, size * size), above.dtype)
                np.put_along_axis(routed, first, above[..., None], axis=-1)
                return unblocked(routed, size, x.shape)
            case _:
                return above.reshape(x.shape)

    def own_gradients(self, place: Place, x: np.ndarray, above: np.ndarray, *, bias: bool = True) -> Arrays:
        """Of a layer's weight and bias; without `bias`, of its weight."""
        name, layer = place
        options: dict[str, Any] = {}
        found: Arrays = {}
        match layer:
            case Dense():
                key, is_transposed = self.weight_name(name)
                product = self.arithmetic.product(above.T, x)
                found = {key: product.T if is_transposed else product}
            case Convolution():
                options = {"kernel": layer.kernel, "stride": layer.stride, "padding": layer.padding}
                found = {f"{name}.weight": self.convolver.weights(x, above, **options)}
            case TransposedConvolution():
                options = {"kernel": layer.kernel, "stride": layer.stride, "padding": layer.crop}
                found = {f"{name}.weight": self.convolver.weights(above, x, **options)}
            case _:
                return {}
        if bias and getattr(layer, "bias", True):
            terms = above if above.ndim == 2 else above.transpose(0, 2, 3, 1).reshape(-1, above.shape[1])
            found[f"{name}.bias"] = self.arithmetic.total(terms.T)
        return found

    def matrix(self, name: str, weights: Arrays) -> np.ndarray:
        """(outputs, inputs) of a dense layer."""
        key, is_transposed = self.weight_name(name)
        return weights[key].T if is_transposed else weights[key]

    def weight_name(self, name: str) -> tuple[str, bool]:
        """Where a dense layer's weight is kept, and whether it is used transposed."""
        part, _, index = name.partition(".")
        is_tied = isinstance(self.architecture, FullyConnected) and self.architecture.tied
        if part == "encoder" or not is_tied:
            return f"{name}.weight", False
        return f"encoder.{len(self.encoder) - 2 - int(index)}.weight", True


def named(part: str, layers: list[Layer]) -> list[Place]:
    """[("encoder.0", layer), ...]."""
    return [(f"{part}.{index}", layer) for index, layer in enumerate(layers)]


def blocks_of(x: np.ndarray, size: int) -> np.ndarray:
    """(N, C, H, W) -> (N, C, H', W', size size)."""
    height, width = x.shape[2] // size, x.shape[3] // size
    kept = x[:, :, : height * size, : width * size].reshape(*x.shape[:2], height, size, width, size)
    return kept.transpose(0, 1, 2, 4, 3, 5).reshape(*x.shape[:2], height, width, size * size)


def unblocked(blocks: np.ndarray, size: int, shape: tuple[int, ...]) -> np.ndarray:
    """Undo `blocks_of`, with zeros in dropped rows and columns."""
    batch, channels, height, width, _ = blocks.shape
    split = blocks.reshape(batch, channels, height, width, size, size).transpose(0, 1, 2, 4, 3, 5)
    found = np.zeros(shape, blocks.dtype)
    found[:, :, : height * size, : width * size] = split.reshape(batch, channels, height * size, width * size)
    return found
