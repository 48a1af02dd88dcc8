"""Measure how far images are from the kinks of a model, where rounding may take either side."""

import numpy as np

from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.layers import Activation, MaxPooling

TIE = 1e-12  # two float64 values this close, relatively, are equal: their receptive fields were


def distance_to_kinks(oracle: Oracle, inputs: np.ndarray, *, of_each_unit: bool = False) -> np.ndarray:
    """(N,) for each image the least distance of a ReLU's input from 0, and of a pool's two largest values from each
    other, in units of their root mean square over the batch. Values that are equal exactly do not count.

    Args:
        of_each_unit: whether the mean is taken for each unit or channel by itself.
    """
    record = oracle.activations(inputs)
    closest = np.full(len(inputs), np.inf)
    below = record["input"]
    for name, layer in oracle.layers:
        gaps = None
        if isinstance(layer, Activation) and layer.name == "relu":
            gaps = np.abs(below)
        elif isinstance(layer, MaxPooling):
            gaps = largest_gap(below, layer.size)
        if gaps is not None:
            others = tuple(axis for axis in range(below.ndim) if axis != 1 or not of_each_unit)
            size = np.sqrt(np.mean(below**2, axis=others, keepdims=True))
            gaps = (gaps / np.where(size > 0, size, 1)).reshape(len(inputs), -1)
            closest = np.minimum(closest, np.where(gaps > TIE, gaps, np.inf).min(axis=1))
        below = record[name]
    return closest


def largest_gap(images: np.ndarray, size: int) -> np.ndarray:
    """(N, C, H', W'): by how much the largest value of each block exceeds the second."""
    batch, channels, height, width = (*images.shape[:2], images.shape[2] // size, images.shape[3] // size)
    whole = images[:, :, : height * size, : width * size].reshape(batch, channels, height, size, width, size)
    blocks = np.sort(whole.transpose(0, 1, 2, 4, 3, 5).reshape(batch, channels, height, width, -1))
    gaps: np.ndarray = blocks[..., -1] - blocks[..., -2]
    return gaps
