"""What a reconstruction error is worth: the same error of predictors that learn little or nothing.

Arrays are (N, pixels) in [0, 1]; errors are squared and averaged over images and pixels, computed in float64.
"""

import numpy as np

from core_torch.spec.errors import check_integer

COLLAPSE_MARGIN = 0.02  # relative; a model this close to a constant predictor has learnt nothing
BLOCK = 10_000  # images centred at once; bounds the memory of their float64 copy


def constant_predictors(train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Compute {name: test error} of zeros, the best single grey, and the training mean of each pixel."""
    predictions = {
        "zeros": 0.0,
        "global mean": train.mean(dtype=np.float64),
        "per-pixel mean": train.mean(axis=0, dtype=np.float64),
    }
    return {name: float(np.mean((test - value) ** 2)) for name, value in predictions.items()}


def is_collapsed(mse: float, constants: dict[str, float]) -> bool:
    """Say whether an error lies within `COLLAPSE_MARGIN` of the best constant predictor's, or above it."""
    return mse >= (1 - COLLAPSE_MARGIN) * min(constants.values())


def principal_components(train: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute (mean (pixels,), directions (count, pixels)): orthonormal, of greatest variance, largest first.

    Raises:
        ConfigError: count below 1 or above the number of pixels.
    """
    check_integer("count", count, minimum=1, maximum=train.shape[1])
    mean = train.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((train.shape[1], train.shape[1]))
    for start in range(0, len(train), BLOCK):
        centred = train[start : start + BLOCK] - mean
        scatter += centred.T @ centred
    _, vectors = np.linalg.eigh(scatter)  # columns, smallest eigenvalue first
    return mean, vectors[:, ::-1][:, :count].T


def pca_errors(train: np.ndarray, test: np.ndarray, count: int) -> dict[str, float]:
    """Compute {"raw", "clipped"}: the test error of PCA before and after its output is clipped to [0, 1].

    PCA with `count` components, fitted on `train`, is the best linear autoencoder.
    """
    mean, directions = principal_components(train, count)
    reconstruction = mean + (test - mean) @ directions.T @ directions
    outputs = {"raw": reconstruction, "clipped": reconstruction.clip(0, 1)}
    return {name: float(np.mean((test - output) ** 2)) for name, output in outputs.items()}
