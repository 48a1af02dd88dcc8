"""Measure a trained model: what only Keras can compute; `core_torch.files.metrics` makes the figures of it."""

import keras
import numpy as np

from core_torch.files.metrics import EVALUATION_NOISE_SEED, JACOBIAN_IMAGES, model_metrics
from core_torch.files.splits import Split
from core_torch.spec.recipe import Recipe
from keras_impl.contractive import jacobian_norm_squared
from keras_impl.corruption import Corruption
from keras_impl.data import unit_pixels
from keras_impl.training import SCORING_BATCH, predict, squared_error

JACOBIAN_BATCH = 10  # images; an exact convolutional Jacobian is large


def measure(model: keras.Model, train: Split, test: Split, *, recipe: Recipe) -> dict[str, object]:
    """Return the figures of a trained model, as `ModelMetrics` defines them."""
    images, encoder = unit_pixels(test), model.get_layer("encoder")
    return model_metrics(
        train,
        test,
        parameters=model.count_params(),
        code_width=encoder.output_shape[-1],
        squared_error=squared_error(model, test),
        noisy_test_mse=noisy_mean_squared_error(model, images, recipe) if recipe.objective == "denoising" else None,
        jacobian_norm_squared=mean_jacobian_norm_squared(model, images),
        code_variance=float(predict(encoder, images).var(axis=0, dtype="float64").sum()),
    ).as_dict()


def noisy_mean_squared_error(model: keras.Model, images: np.ndarray, recipe: Recipe) -> float:
    """Compute the error from corrupted images to clean ones (N, pixels); the noise is the same for every model."""
    corrupt = Corruption(recipe.corruption, recipe.corruption_level, seed=EVALUATION_NOISE_SEED)
    parts = [images[start : start + SCORING_BATCH] for start in range(0, len(images), SCORING_BATCH)]
    noisy = [keras.ops.convert_to_numpy(corrupt(part, training=True)) for part in parts]
    return float(np.mean((predict(model, np.concatenate(noisy)).astype(np.float64) - images) ** 2))


def mean_jacobian_norm_squared(model: keras.Model, images: np.ndarray) -> float:
    """Compute E ||dh/dx||_F^2 over the first `JACOBIAN_IMAGES` images (N, pixels)."""
    encoder, images = model.get_layer("encoder"), images[:JACOBIAN_IMAGES]
    parts = [images[start : start + JACOBIAN_BATCH] for start in range(0, len(images), JACOBIAN_BATCH)]
    norms = [jacobian_norm_squared(encoder, keras.ops.convert_to_tensor(part)) for part in parts]
    return float(np.mean(np.concatenate([keras.ops.convert_to_numpy(norm) for norm in norms]), dtype="float64"))
