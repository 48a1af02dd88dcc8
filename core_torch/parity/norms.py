"""Measure how far an array, or several, are from the right ones."""

from collections.abc import Mapping

import numpy as np

SMALLEST_IMAGE = 0.05  # of the root mean square of all norms


def altered_values(found: np.ndarray, truth: np.ndarray) -> float:
    """Count the values that differ, bit for bit; all of them where shapes differ."""
    flat = found.reshape(truth.shape) if found.size == truth.size else None
    return float(truth.size if flat is None else np.sum(flat != truth))


def worst_image_distance(found: np.ndarray | None, truth: np.ndarray | None) -> float:
    """Return the largest ||found - truth|| / ||truth|| of an image, over arrays (N, ...).

    An image that is nearly empty counts relative to a share of the others.
    """
    if found is None or truth is None or found.shape != truth.shape:
        return np.inf
    rows = (len(truth), -1) if truth.ndim and truth.size else (1, truth.size)
    difference = np.linalg.norm((found.astype(np.float64) - truth).reshape(rows), axis=1)
    scale = np.linalg.norm(truth.reshape(rows), axis=1)
    scale = np.maximum(scale, SMALLEST_IMAGE * np.sqrt(np.mean(scale**2)))  # all of them empty: absolutely
    return float(np.max(difference / np.where(scale > 0, scale, 1), initial=0))


def relative_difference(found: np.ndarray | None, truth: np.ndarray | None) -> float:
    """Return |found - truth| / |truth| of two losses; a loss that should be 0 counts absolutely."""
    if found is None or truth is None or np.size(found) != 1 or np.size(truth) != 1:
        return np.inf
    value, right = float(np.asarray(found).item()), float(np.asarray(truth).item())
    return abs(value - right) / (abs(right) or 1.0)


def relative_distance(found: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], *, least: float = 0.0) -> float:
    """Return ||found - truth|| / max(||truth||, least) over all tensors together.

    It is infinite where names or shapes differ. What should be zero counts absolutely.
    """
    if {name: np.shape(array) for name, array in found.items()} != {name: array.shape for name, array in truth.items()}:
        return np.inf
    squares = sum(float(np.sum((np.asarray(found[name], np.float64) - truth[name]) ** 2)) for name in truth)
    return float(np.sqrt(squares)) / (max(norm(truth), least) or 1.0)


def norm(arrays: Mapping[str, np.ndarray]) -> float:
    """Return the Euclidean norm of all tensors together."""
    return float(np.sqrt(sum(float(np.sum(np.asarray(array, np.float64) ** 2)) for array in arrays.values())))
