"""The oracle's activations, elementwise: value, slope and curvature at the pre-activation z."""

from collections.abc import Callable

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z) without overflow, and exact relatively where it is tiny."""
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, small) / (1 + small)


def sigmoid_slope(z: np.ndarray) -> np.ndarray:
    """s'(z) = s(z) s(-z)."""
    small = np.exp(-np.abs(z))
    return small / (1 + small) ** 2


VALUES: dict[str, Function] = {
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "silu": lambda z: z * sigmoid(z),
    "linear": lambda z: z,
}
# relu'(0) = 0 as in torch, TensorFlow and JAX.
SLOPES: dict[str, Function] = {
    "relu": lambda z: (z > 0).astype(z.dtype),
    "sigmoid": sigmoid_slope,
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "silu": lambda z: sigmoid(z) * (1 + z * (1 - sigmoid(z))),
    "linear": np.ones_like,
}
# Where there is none here, it is zero: a kink counts as flat.
CURVATURES: dict[str, Function] = {
    "sigmoid": lambda z: sigmoid_slope(z) * (1 - 2 * sigmoid(z)),
    "tanh": lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2),
    "silu": lambda z: sigmoid_slope(z) * (2 + z * (1 - 2 * sigmoid(z))),
}
