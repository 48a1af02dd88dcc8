"""The figures that a trained model is reported with, named and defined as the reference's."""

import keras
import numpy as np

from core_torch.files.splits import Split
from keras_impl.contractive import jacobian_norm_squared
from keras_impl.data import unit_pixels
from keras_impl.training import predict, squared_error

JACOBIAN_IMAGES = 100  # images over which the exact Jacobian is averaged
JACOBIAN_BATCH = 10  # images; an exact convolutional Jacobian is large


def measure(model: keras.Model, train: Split, test: Split) -> dict[str, float | None]:
    """{name: value}: test error per pixel (MSE) and per image (SSE), that of constants, the encoder's contraction."""
    total, images, mean_image = squared_error(model, test), unit_pixels(test), unit_pixels(train).mean(0, "float64")
    jacobian = mean_jacobian_norm_squared(model, images)
    variance = float(predict(model.get_layer("encoder"), images).var(axis=0, dtype="float64").sum())
    return {
        "parameters": model.count_params(),
        "test_mse": total / images.size,
        "test_sse": total / len(images),
        "test_mse_of_zeros": float(np.mean(images**2, dtype="float64")),
        "test_mse_of_mean": float(np.mean((images - mean_image) ** 2)),
        "jacobian_norm_squared": jacobian,
        "jacobian_scale_free": jacobian / variance if variance else None,  # per unit of the code's variance
    }


def mean_jacobian_norm_squared(model: keras.Model, images: np.ndarray) -> float:
    """E ||dh/dx||_F^2 over the first `JACOBIAN_IMAGES` images (N, pixels)."""
    encoder, images = model.get_layer("encoder"), images[:JACOBIAN_IMAGES]
    parts = [images[start : start + JACOBIAN_BATCH] for start in range(0, len(images), JACOBIAN_BATCH)]
    norms = [jacobian_norm_squared(encoder, keras.ops.convert_to_tensor(part)) for part in parts]
    return float(np.mean(np.concatenate([keras.ops.convert_to_numpy(norm) for norm in norms]), dtype="float64"))
