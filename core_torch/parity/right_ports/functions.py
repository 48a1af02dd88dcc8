"""Activations in the forms that ports write them in: value, slope and curvature at z."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]


class Curve(NamedTuple):
    """An activation and its first two derivatives."""

    value: Function
    slope: Function
    bend: Function


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z), as most write it."""
    with np.errstate(over="ignore"):
        result: np.ndarray = 1 / (1 + np.exp(-z))
        return result


def two_sided_sigmoid(z: np.ndarray) -> np.ndarray:
    """With an exponent that is never positive."""
    small = np.exp(-np.abs(z))
    result: np.ndarray = np.where(z >= 0, 1 / (1 + small), small / (1 + small)).astype(z.dtype)
    return result


def curves_of(logistic: Function) -> dict[str, Curve]:
    """The activations of the spec; a slope is written in the value where textbooks do so."""

    def spread(z: np.ndarray) -> np.ndarray:
        result: np.ndarray = logistic(z) * (1 - logistic(z))
        return result

    return {
        "relu": Curve(
            lambda z: np.where(z > 0, z, 0).astype(z.dtype), lambda z: (z > 0).astype(z.dtype), np.zeros_like
        ),
        "sigmoid": Curve(logistic, spread, lambda z: spread(z) * (1 - 2 * logistic(z))),
        "tanh": Curve(np.tanh, lambda z: 1 - np.tanh(z) ** 2, lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2)),
        "silu": Curve(
            lambda z: z * logistic(z),
            lambda z: logistic(z) + z * spread(z),
            lambda z: spread(z) * (2 + z * (1 - 2 * logistic(z))),
        ),
        "linear": Curve(lambda z: z, np.ones_like, np.zeros_like),
    }


PLAIN, TWO_SIDED = curves_of(sigmoid), curves_of(two_sided_sigmoid)
