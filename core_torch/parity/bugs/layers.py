"""Layers and layouts that are wrong in one way each; see `bugs`."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.problem import Problem
from core_torch.spec.architecture import Convolutional
from core_torch.spec.layers import Activation, Convolution, Dense, Layer, MaxPooling, TransposedConvolution

WEIGHTED = (Dense, Convolution, TransposedConvolution)
LOST_BITS = 13  # of float32's 23 that TF32 does not have


class HalfPrecision(Oracle):
    """What weighted layers return, in float16, as under autocast."""

    def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        result = super()._forward(name, layer, x)
        return result.astype(np.float16).astype(result.dtype) if isinstance(layer, WEIGHTED) else result


class TensorFloat32(Oracle):
    """What goes into products, rounded to 10 bits."""

    def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        if not isinstance(layer, WEIGHTED):
            return super()._forward(name, layer, x)
        key = self._weight_name(name)[0]
        kept = self.weights[key]
        self.weights[key] = ten_bits(kept)
        result = super()._forward(name, layer, ten_bits(x))
        self.weights[key] = kept
        return result


def ten_bits(array: np.ndarray) -> np.ndarray:
    """Rounded to nearest."""
    bits = array.astype(np.float32).view(np.uint32).astype(np.uint64) + (1 << (LOST_BITS - 1))
    return (bits >> LOST_BITS << LOST_BITS).astype(np.uint32).view(np.float32).astype(array.dtype)


class MeanPooling(Oracle):
    """The mean of each block."""

    def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        if not isinstance(layer, MaxPooling):
            return super()._forward(name, layer, x)
        side = x.shape[-1] // layer.size
        blocks = x[..., : side * layer.size, : side * layer.size].reshape(
            *x.shape[:2], side, layer.size, side, layer.size
        )
        return blocks.mean(axis=(3, 5))


class OutputSlopeForgotten(Oracle):
    """The gradient skips the last activation."""

    def backward(self, name: str, layer: Layer, x: np.ndarray, upstream: np.ndarray) -> tuple[np.ndarray, Arrays]:
        """As the oracle's, but for the output."""
        if name == self.layers[-1][0] and isinstance(layer, Activation):
            return upstream, {}
        return super().backward(name, layer, x, upstream)


class BatchSizeBroadcast(Oracle):
    """(N, 1, ...) against (N, ...) makes (N, N, ...): the mean over all pairs of output and target."""

    def gradients(self, inputs: np.ndarray, targets: np.ndarray, *, contraction: float = 0.0) -> tuple[float, Arrays]:
        """Its gradient is that of the error to the mean target; its loss is larger by their variance."""
        mean = np.broadcast_to(targets.mean(axis=0), targets.shape)
        loss, gradients = super().gradients(inputs, mean, contraction=contraction)
        return loss + float(np.mean((targets - mean) ** 2)), gradients


def shifted(layer: Layer, field_name: str) -> Layer:
    """With the padding or crop of one side moved to the other, by a pixel."""
    before, after = getattr(layer, field_name)
    moved = (before - 1, after + 1) if before else (before + 1, after - 1)
    return replace(layer, **{field_name: moved}) if sum(moved) and min(moved) >= 0 else layer  # type: ignore[arg-type]


def transposed_if_square(name: str, value: np.ndarray, problem: Problem) -> np.ndarray:
    """Its own inverse."""
    return np.ascontiguousarray(value.T) if value.ndim == 2 and value.shape[0] == value.shape[1] else value


def kernel_flipped(name: str, value: np.ndarray, problem: Problem) -> np.ndarray:
    """Its own inverse."""
    return np.ascontiguousarray(value[..., ::-1, ::-1]) if value.ndim == 4 else value


def kernel_rows_and_columns_swapped(name: str, value: np.ndarray, problem: Problem) -> np.ndarray:
    """Its own inverse."""
    return np.ascontiguousarray(value.swapaxes(-1, -2)) if value.ndim == 4 else value


def of_part(part: str, relayout: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Mistake the weights of the encoder or the decoder alone."""
    return lambda name, value, problem: relayout(name, value, problem) if name.startswith(part) else value


def flatten_order(name: str, value: np.ndarray, problem: Problem, *, into: bool, part: str = "encoder") -> np.ndarray:
    """The dense weight next to the convolutions of that part, (C, H, W) taken for (H, W, C); or back."""
    architecture = problem.architecture
    if not isinstance(architecture, Convolutional):
        return value
    channels = architecture.filters[-1]
    index = len(architecture.encoder_layers()) - 2 if part == "encoder" else 0
    if not name.startswith(f"{part}.{index}.") or (part == "encoder" and name.endswith("bias")):
        return value
    axis = 1 if part == "encoder" else 0
    area = value.shape[axis] // channels
    order = np.arange(value.shape[axis]).reshape(area, channels).T.ravel()
    return np.take(value, order if into else np.argsort(order), axis=axis)
