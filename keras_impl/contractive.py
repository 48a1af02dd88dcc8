"""The contractive objective: the squared Frobenius norm of the encoder's Jacobian, exact for any encoder."""

from typing import Any

import keras
from keras import layers, ops

from keras_impl.tensors import Tensor

Stage = tuple[keras.Layer, Tensor, Any]  # a layer, its input, the slope of its activation, which only weights have

UNITS = 16  # of the code, whose Jacobians go back together: all at once, oneDNN sums a kernel's gradient less exactly
SLOPES = {
    "relu": lambda a: ops.cast(a > 0, a.dtype),
    "sigmoid": lambda a: ops.sigmoid(a) * ops.sigmoid(-a),
    "tanh": lambda a: 4 * ops.sigmoid(2 * a) * ops.sigmoid(-2 * a),  # 1 - tanh^2 without its cancellation
    "silu": lambda a: ops.sigmoid(a) * (1 + a * ops.sigmoid(-a)),
    "linear": ops.ones_like,
}


class ContractiveAutoencoder(keras.Model):
    """A model whose loss is the compiled one plus `contraction` times the mean of ||dh/dx||_F^2 over the batch.

    Rifai et al., ICML 2011. Inputs and outputs are those of a `build_autoencoder` model, whose layers
    it shares.
    """

    def __init__(self, inputs: Tensor, outputs: Tensor, *, contraction: float, **options: object) -> None:
        super().__init__(inputs, outputs, **options)
        self.contraction = float(contraction)

    def penalty(self, inputs: Tensor) -> Tensor:
        """What the objective adds to the error at inputs (N, pixels)."""
        return self.contraction * ops.mean(jacobian_norm_squared(self.get_layer("encoder"), inputs))

    def compute_loss(self, x: Any = None, *arguments: object, **options: object) -> Any:
        """The compiled loss and the penalty."""
        return super().compute_loss(x, *arguments, **options) + self.penalty(x)


def jacobian_norm_squared(encoder: keras.Model, inputs: Tensor) -> Tensor:
    """||dh/dx||_F^2 (N,) at inputs (N, pixels), differentiable with respect to the weights.

    One layer: sum_j s'(a_j)^2 ||W_j||^2 (Rifai et al.). Otherwise the Jacobians are formed, by a backward
    pass from every code unit: memory is N * code width * the largest layer.
    """
    *stages, (code, _, slope) = _stages(encoder, inputs)
    if not stages:
        return ops.sum(ops.square(slope) * ops.sum(ops.square(code.kernel), axis=0), axis=1)
    total: Any = 0.0
    jacobian = slope[:, :, None] * ops.transpose(code.kernel)  # (N, code units, inputs of the code layer)
    for start in range(0, jacobian.shape[1], UNITS):
        rows = jacobian[:, start : start + UNITS]
        for layer, x, slope in reversed(stages):
            rows = _pull_back(layer, x, slope, rows)
        total = total + ops.sum(ops.square(rows), axis=tuple(range(1, len(rows.shape))))
    return total


def _stages(encoder: keras.Model, x: Tensor) -> list[Stage]:
    """The layers and what goes into them, without the layers that only rearrange the pixels."""
    stages = []
    for layer in encoder.layers:
        if isinstance(layer, (layers.Dense, layers.Conv2D)):
            product = ops.matmul if isinstance(layer, layers.Dense) else layer.convolution_op
            a = product(x, layer.kernel)
            a = a + layer.bias if layer.use_bias else a
            stages.append((layer, x, SLOPES[layer.activation.__name__](a)))
            x = layer.activation(a)
        elif isinstance(layer, (layers.MaxPooling2D, layers.ZeroPadding2D, layers.Flatten)):
            stages.append((layer, x, None))
            x = layer(x)
        elif not isinstance(layer, layers.InputLayer):
            x = layer(x)
    return stages


def _pull_back(layer: keras.Layer, x: Tensor, slope: Tensor, rows: Tensor) -> Tensor:
    """Rows of the Jacobian, (N, code units, *output shape) -> (N, code units, *input shape); x (N, *input shape)."""
    if isinstance(layer, layers.Flatten):
        return ops.reshape(rows, (-1, rows.shape[1], *x.shape[1:]))
    if isinstance(layer, layers.ZeroPadding2D):
        (top, _), (left, _) = layer.padding
        return _fit(rows[:, :, top:, left:], x)
    if isinstance(layer, layers.MaxPooling2D):
        size = layer.pool_size[0]
        rows = ops.repeat(ops.repeat(rows, size, axis=2), size, axis=3)
        return _fit(rows * _largest(x, size)[:, None], x)
    # One axis for images and units: on a CPU, XLA multiplies matrices much faster than stacks of them.
    flat = ops.reshape(rows * slope[:, None], (-1, *slope.shape[1:]))
    if isinstance(layer, layers.Dense):
        flat = ops.matmul(flat, ops.transpose(layer.kernel))
        return ops.reshape(flat, (-1, rows.shape[1], x.shape[1]))
    options = {"padding": layer.padding, "data_format": "channels_last"}
    flat = ops.conv_transpose(flat, layer.kernel, layer.strides, **options)
    return _fit(ops.reshape(flat, (-1, rows.shape[1], *flat.shape[1:])), x)


def _largest(x: Tensor, size: int) -> Tensor:
    """1 where x (N, H, W, C) is the first of the largest in its window, else 0; without rows that pooling drops."""
    height, width, channels = x.shape[1] // size, x.shape[2] // size, x.shape[3]
    blocks = ops.reshape(x[:, : height * size, : width * size], (-1, height, size, width, size, channels))
    windows = ops.reshape(ops.transpose(blocks, (0, 1, 3, 5, 2, 4)), (-1, height, width, channels, size**2))
    chosen = ops.one_hot(ops.argmax(windows, axis=-1), size**2, dtype=x.dtype)
    blocks = ops.transpose(ops.reshape(chosen, (-1, height, width, channels, size, size)), (0, 1, 4, 2, 5, 3))
    return ops.reshape(blocks, (-1, height * size, width * size, channels))


def _fit(rows: Tensor, x: Tensor) -> Tensor:
    """Cut the rows' images to the height and width of x, or grow them by the zeros of what no window reached."""
    rows = rows[:, :, : x.shape[1], : x.shape[2]]
    missing = (x.shape[1] - rows.shape[2], x.shape[2] - rows.shape[3])
    return ops.pad(rows, ((0, 0), (0, 0), (0, missing[0]), (0, missing[1]), (0, 0))) if any(missing) else rows
