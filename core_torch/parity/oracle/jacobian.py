"""The oracle's contractive penalty: the squared norm of the encoder's Jacobian, and its gradient, without autograd.

Row k of the Jacobian J is a backward pass from code unit k. That pass is linear in the row and in every weight, so the
gradient of the squared norm is a forward pass of twice the row; only a curved activation adds a term of its own.
"""

import numpy as np

from core_torch.parity.oracle.convolution import convolution, convolution_weight_gradient, pooled_where_largest
from core_torch.parity.oracle.network import Arrays, Network
from core_torch.spec.layers import Activation, Convolution, Dense, Layer, MaxPooling

ROWS = 512  # of Jacobians carried at once, which bounds the memory of a convolution's windows


def contractive_penalty(
    network: Network,
    record: Arrays,
    *,
    weight: float,
    gradients: Arrays | None = None,
    layers: list[tuple[str, Layer]] | None = None,
) -> float:
    """`weight` times ||J||_F^2 averaged over the images of `record`; adds its gradient to `gradients`.

    Rifai et al., ICML 2011, for any encoder, or for `layers` of fully connected models.
    """
    encoder = layers or network.layers[: len(network.architecture.encoder_layers())]
    count, code_width = record[encoder[-1][0]].shape
    rows = np.indices((count, code_width)).reshape(2, -1).T  # (image, code unit)
    squares, bends = 0.0, {name: np.zeros_like(record[name]) for name, layer in encoder if _is_curved(network, layer)}
    for part in np.split(rows, range(ROWS, len(rows), ROWS)):
        stack = JacobianRows(network, encoder, record, part)
        squares += float(np.sum(stack.rows**2))
        if gradients is not None:
            stack.add_gradients(network.dtype(2 * weight / count), gradients, bends)
    if gradients is not None:
        for place, (name, _) in enumerate(encoder):
            if name in bends:
                network.pull_back(record, bends[name], encoder[:place], gradients)
    return weight * squares / count


def _is_curved(network: Network, layer: Layer) -> bool:
    return isinstance(layer, Activation) and layer.name in network.curvatures


class JacobianRows:
    """Some rows of the Jacobians of some images: `rows` (R, *input shape) for pairs (R, 2) of image and code unit."""

    def __init__(self, network: Network, encoder: list[tuple[str, Layer]], record: Arrays, pairs: np.ndarray) -> None:
        self.network, self.images = network, pairs[:, 0]
        # (name, layer, its input at each row's image, the row as it reached the layer's output)
        self.stages: list[tuple[str, Layer, np.ndarray, np.ndarray]] = []
        row: np.ndarray = np.zeros((len(pairs), record[encoder[-1][0]].shape[1]), network.dtype)
        row[np.arange(len(pairs)), pairs[:, 1]] = 1
        inputs = ["input", *(name for name, _ in encoder)]
        for (name, layer), below in reversed(list(zip(encoder, inputs))):
            x = record[below][self.images]
            self.stages.insert(0, (name, layer, x, row))
            row = network.backward(name, layer, x, row)[0]
        self.rows = row

    def add_gradients(self, scale: np.floating, gradients: Arrays, bends: Arrays) -> None:
        """Of scale / 2 times the sum of squares, for weights, and for curved activations' pre-activations."""
        adjoint = scale * self.rows
        for name, layer, x, row in self.stages:
            if name in bends:
                curvature = self.network.curvatures[layer.name](x)  # type: ignore[union-attr]
                np.add.at(bends[name], self.images, adjoint * row * curvature)
            key = f"{name}.weight"  # no row depends on a bias
            if isinstance(layer, Dense):
                gradients[key] = gradients.get(key, 0) + row.T @ adjoint
            elif isinstance(layer, Convolution):
                gradients[key] = gradients.get(key, 0) + convolution_weight_gradient(adjoint, row, layer)
            adjoint = self._push(name, layer, x, adjoint)

    def _push(self, name: str, layer: Layer, x: np.ndarray, adjoint: np.ndarray) -> np.ndarray:
        """The layer's derivative at x, applied to `adjoint`."""
        weight = self.network.weights.get(f"{name}.weight")
        match layer:
            case Dense():
                return adjoint @ weight.T  # type: ignore[union-attr]
            case Convolution(_, outputs):
                return convolution(adjoint, weight, np.zeros(outputs, adjoint.dtype), layer)  # type: ignore[arg-type]
            case MaxPooling(size):
                return pooled_where_largest(x, adjoint, size)
            case Activation():
                return self.network.backward(name, layer, x, adjoint)[0]
            case _:
                return adjoint.reshape(len(adjoint), -1)  # Flatten, the only other layer of an encoder
