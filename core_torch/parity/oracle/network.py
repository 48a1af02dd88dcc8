"""Network: every layer's forward and backward rule in plain NumPy, float64 by default."""

from collections.abc import Mapping

import numpy as np

from core_torch.parity.oracle.activations import CURVATURES, SLOPES, VALUES
from core_torch.parity.oracle.convolution import (
    convolution,
    convolution_gradients,
    max_pooling,
    max_pooling_gradient,
    transposed_convolution,
    transposed_convolution_gradients,
)
from core_torch.spec.architecture import Architecture, FullyConnected
from core_torch.spec.layers import (
    Activation,
    Convolution,
    Dense,
    Flatten,
    Layer,
    MaxPooling,
    TransposedConvolution,
    Unflatten,
)

Arrays = dict[str, np.ndarray]


class Network:
    """One model, forward and backward. Names and layouts are the reference's; see `parameter_shapes`.

    Args:
        architecture: what to compute.
        weights: {name: array}; copied, cast to `dtype`.
        dtype: float64 for a judge; float32 to see what rounding alone does.
    """

    values, slopes, curvatures = VALUES, SLOPES, CURVATURES

    def __init__(
        self, architecture: Architecture, weights: Mapping[str, np.ndarray], *, dtype: type = np.float64
    ) -> None:
        self.architecture = architecture
        self.dtype = dtype
        self.weights: Arrays = {name: np.array(value, dtype=dtype) for name, value in weights.items()}
        encoder, decoder = architecture.encoder_layers(), architecture.decoder_layers()
        self.layers: list[tuple[str, Layer]] = [
            *((f"encoder.{index}", layer) for index, layer in enumerate(encoder)),
            *((f"decoder.{index}", layer) for index, layer in enumerate(decoder)),
        ]
        self.code_layer = f"encoder.{len(encoder) - 1}"

    def activations(self, inputs: np.ndarray) -> Arrays:
        """{"input": ..., layer name: its output, "output": (N, pixels)} for N inputs, flat or not."""
        shape = (len(inputs), *self.architecture.input_shape)
        current: np.ndarray = np.asarray(inputs, self.dtype).reshape(shape)
        record = {"input": current}
        for name, layer in self.layers:
            current = record[name] = self._forward(name, layer, current)
        record["output"] = current
        return record

    def pull_back(
        self, record: Arrays, upstream: np.ndarray, layers: list[tuple[str, Layer]], gradients: Arrays
    ) -> np.ndarray:
        """Carry `upstream`, the gradient at the output of `layers`, to their input; add to `gradients`."""
        names = ["input", *(name for name, _ in self.layers)]
        for name, layer in reversed(layers):
            below = record[names[names.index(name) - 1]]
            upstream, own = self.backward(name, layer, below, upstream)
            for key, value in own.items():
                gradients[key] = gradients.get(key, 0) + value
        return upstream

    def _weight_name(self, name: str) -> tuple[str, bool]:
        """Where a layer's weight lives, and whether it is used transposed (the tied decoder's is)."""
        tied = isinstance(self.architecture, FullyConnected) and self.architecture.tied
        if not (tied and name.startswith("decoder.")):
            return f"{name}.weight", False
        last_dense = len(self.architecture.encoder_layers()) - 2
        return f"encoder.{last_dense - int(name.split('.')[1])}.weight", True

    def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        match layer:
            case Dense():
                key, transposed = self._weight_name(name)
                weight = self.weights[key].T if transposed else self.weights[key]
                return x @ weight.T + self.weights.get(f"{name}.bias", 0)
            case Activation(kind):
                return self.values[kind](x)
            case Convolution():
                return convolution(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], layer)
            case TransposedConvolution():
                return transposed_convolution(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], layer)
            case MaxPooling(size):
                return max_pooling(x, size)
            case Flatten():
                return x.reshape(len(x), -1)
            case Unflatten(channels, side):
                return x.reshape(len(x), channels, side, side)

    def backward(self, name: str, layer: Layer, x: np.ndarray, upstream: np.ndarray) -> tuple[np.ndarray, Arrays]:
        """(gradient at the layer's input, {parameter: gradient}) given the gradient at its output."""
        match layer:
            case Dense():
                key, transposed = self._weight_name(name)
                weight = self.weights[key].T if transposed else self.weights[key]
                own = upstream.T @ x
                gradients = {key: own.T if transposed else own}
                if layer.bias:
                    gradients[f"{name}.bias"] = upstream.sum(axis=0)
                return upstream @ weight, gradients
            case Activation(kind):
                return upstream * self.slopes[kind](x), {}
            case Convolution() | TransposedConvolution():
                weight = self.weights[f"{name}.weight"]
                if isinstance(layer, Convolution):
                    down, own = convolution_gradients(x, weight, upstream, layer)
                else:
                    down, own = transposed_convolution_gradients(x, weight, upstream, layer)
                return down, {f"{name}.weight": own, f"{name}.bias": upstream.sum(axis=(0, 2, 3))}
            case MaxPooling(size):
                return max_pooling_gradient(x, upstream, size), {}
            case _:
                return upstream.reshape(x.shape), {}
