"""What a reconstruction error is worth: the same error of predictors that learn little or nothing."""

import numpy as np

DEAD_MARGIN = 0.02  # relative; a model this close to a constant predictor has learnt nothing


def constant_predictors(train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """{name: test squared error per pixel} of zeros, the best single grey, and the training mean of each pixel.

    Arrays are (N, pixels) in [0, 1].
    """
    predictions = {
        "zeros": 0.0,
        "global mean": train.mean(dtype=np.float64),
        "per-pixel mean": train.mean(axis=0, dtype=np.float64),
    }
    return {name: float(np.mean((test - value) ** 2)) for name, value in predictions.items()}


def is_dead(mse: float, constants: dict[str, float]) -> bool:
    """Whether an error lies within `DEAD_MARGIN` of a constant predictor's."""
    return any(abs(mse - constant) <= DEAD_MARGIN * constant for constant in constants.values())
