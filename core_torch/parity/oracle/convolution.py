"""The oracle's convolutions and pooling. One einsum over sliding windows: slow, short, and easy to check."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from core_torch.spec.layers import Convolution, TransposedConvolution


def convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, layer: Convolution) -> np.ndarray:
    """Cross-correlation: y[n,o,i,j] = b[o] + sum_c,u,v x[n,c,i s+u,j s+v] w[o,c,u,v] on the padded x."""
    windows = _windows(_pad(x, layer.padding), layer.kernel, layer.stride)  # (N, C, H', W', k, k)
    return np.einsum("nchwuv,ocuv->nohw", windows, weight, optimize=True) + bias[:, None, None]


def convolution_gradients(
    x: np.ndarray, weight: np.ndarray, upstream: np.ndarray, layer: Convolution
) -> tuple[np.ndarray, np.ndarray]:
    """(gradient at x, gradient of the weight)."""
    scattered = _scatter(upstream, weight, layer.stride, side=x.shape[-1] + sum(layer.padding))
    before = layer.padding[0]
    down = scattered[..., before : before + x.shape[2], before : before + x.shape[3]]
    return down, convolution_weight_gradient(x, upstream, layer)


def convolution_weight_gradient(x: np.ndarray, upstream: np.ndarray, layer: Convolution) -> np.ndarray:
    """(outputs, inputs, kernel, kernel), summed over the batch."""
    windows = _windows(_pad(x, layer.padding), layer.kernel, layer.stride)
    return np.einsum("nchwuv,nohw->ocuv", windows, upstream, optimize=True)


def transposed_convolution(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, layer: TransposedConvolution
) -> np.ndarray:
    """Each input pixel adds x[n,c,i,j] w[c,o,:,:] at (i s, j s); then the crop and the bias."""
    full = _scatter(x, weight, layer.stride, side=(x.shape[-1] - 1) * layer.stride + layer.kernel)
    return _crop(full, layer.crop) + bias[:, None, None]


def transposed_convolution_gradients(
    x: np.ndarray, weight: np.ndarray, upstream: np.ndarray, layer: TransposedConvolution
) -> tuple[np.ndarray, np.ndarray]:
    """(gradient at x, gradient of the weight)."""
    windows = _windows(_pad(upstream, layer.crop), layer.kernel, layer.stride)  # (N, O, H, W, k, k)
    down = np.einsum("nohwuv,couv->nchw", windows, weight, optimize=True)
    return down, np.einsum("nohwuv,nchw->couv", windows, x, optimize=True)


def max_pooling(x: np.ndarray, size: int) -> np.ndarray:
    """Maximum of each size x size block; rows and columns beyond the last whole block are dropped."""
    return _blocks(x, size).max(axis=-1)


def max_pooling_gradient(x: np.ndarray, upstream: np.ndarray, size: int) -> np.ndarray:
    """The gradient goes to the first maximum of each block, as in torch, TensorFlow and JAX."""
    blocks = _blocks(x, size)  # (N, C, H', W', size * size)
    routed = np.zeros_like(blocks)
    np.put_along_axis(routed, blocks.argmax(axis=-1)[..., None], upstream[..., None], axis=-1)
    batch, channels, height, width, _ = blocks.shape
    down = np.zeros_like(x)
    down[:, :, : height * size, : width * size] = (
        routed.reshape(batch, channels, height, width, size, size)
        .transpose(0, 1, 2, 4, 3, 5)
        .reshape(batch, channels, height * size, width * size)
    )
    return down


def pooled_where_largest(x: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Of each block of `values`, the one at the first maximum of the same block of x."""
    places = _blocks(x, size).argmax(axis=-1)[..., None]
    return np.take_along_axis(_blocks(values, size), places, axis=-1)[..., 0]


def _scatter(x: np.ndarray, weight: np.ndarray, stride: int, *, side: int) -> np.ndarray:
    """(N, C, h, w) and (C, O, k, k) -> (N, O, side, side): the sum of kernels placed at every input pixel."""
    kernel = weight.shape[-1]
    out = np.zeros((len(x), weight.shape[1], side, side), x.dtype)
    height, width = x.shape[2:]
    for u in range(kernel):
        for v in range(kernel):
            rows = slice(u, u + (height - 1) * stride + 1, stride)
            columns = slice(v, v + (width - 1) * stride + 1, stride)
            out[:, :, rows, columns] += np.einsum("nchw,co->nohw", x, weight[:, :, u, v], optimize=True)
    return out


def _windows(x: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    return sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]


def _blocks(x: np.ndarray, size: int) -> np.ndarray:
    height, width = x.shape[2] // size, x.shape[3] // size
    whole = x[:, :, : height * size, : width * size]
    split = whole.reshape(*x.shape[:2], height, size, width, size).transpose(0, 1, 2, 4, 3, 5)
    return split.reshape(*x.shape[:2], height, width, size * size)


def _pad(x: np.ndarray, amount: tuple[int, int]) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), amount, amount))


def _crop(x: np.ndarray, amount: tuple[int, int]) -> np.ndarray:
    before, after = amount
    return x[:, :, before : x.shape[2] - after, before : x.shape[3] - after]
