"""Input pipelines. Every one of them trains on the same batches, those of `spec.batch_order`.

Three pipelines go through `fit`, one epoch at a time. The fourth never leaves the device, see `resident`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from core_torch.files.splits import Split, to_unit_range
from core_torch.spec.batch_order import batch_order, epoch_order
from core_torch.spec.recipe import Recipe
from keras_impl.resident import resident_loop
from keras_impl.tensors import Tensor

RunEpoch = Callable[[int], float]  # epoch, from 0 -> its mean training loss


def unit_pixels(split: Split) -> np.ndarray:
    """(N, pixels) float32 in [0, 1]."""
    return to_unit_range(split.images).reshape(len(split), -1)


def parts_to_share(images: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """For one call of Keras each: all images; or with `keras.distribution`, under which the batches of a call are all
    laid out as its first, those of whole batches and those of a short last one.
    """
    cut = len(images) - len(images) % batch_size if keras.distribution.distribution() else len(images)
    return [part for part in (images[:cut], images[cut:]) if len(part)]


class EpochBatches(keras.utils.PyDataset):
    """The (inputs, targets) batches of one epoch, both being images (N, pixels) gathered by index.

    It holds a single epoch because Keras calls `on_epoch_end` once before the first one on JAX and torch,
    so that hook cannot count them.
    """

    def __init__(self, images: np.ndarray, *, batch_size: int, seed: int, epoch: int) -> None:
        super().__init__()
        self.images = images
        self.indices = list(batch_order(len(images), batch_size, seed=seed, epoch=epoch))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.images[self.indices[index]]
        return rows, rows


def tf_dataset(images: Tensor, *, batch_size: int, seed: int, epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
    """The same batches as a `tf.data.Dataset` with prefetching; images (N, pixels) is a TensorFlow tensor."""
    import tensorflow as tf

    def gather(indices: Tensor) -> tuple[Tensor, Tensor]:
        rows = tf.gather(images, indices)
        return rows, rows

    order = tf.data.Dataset.from_tensor_slices(epoch_order(len(images), seed=seed, epoch=epoch))
    return order.batch(batch_size).map(gather).prefetch(tf.data.AUTOTUNE)


def _fit(model: keras.Model, data: object, targets: object = None, *, batch_size: int | None = None) -> float:
    """One epoch of `fit` in the order given; Keras's running loss, weighted by batch length."""
    fitted = model.fit(data, targets, batch_size=batch_size, epochs=1, shuffle=False, verbose=0)
    return float(fitted.history["loss"][-1])


def _arrays(model: keras.Model, images: np.ndarray, recipe: Recipe) -> RunEpoch:
    def run(epoch: int) -> float:
        shuffled = images[epoch_order(len(images), seed=recipe.seed, epoch=epoch)]
        parts = parts_to_share(shuffled, recipe.batch_size)
        losses = [_fit(model, part, part, batch_size=recipe.batch_size) * len(part) for part in parts]
        return sum(losses) / len(images)

    return run


def _tf_data(model: keras.Model, images: np.ndarray, recipe: Recipe) -> RunEpoch:
    import tensorflow as tf

    with tf.device("CPU"):  # where tf.data gathers
        rows = tf.constant(images)
    return lambda epoch: _fit(model, tf_dataset(rows, **_order(recipe, epoch)))


def _pydataset(model: keras.Model, images: np.ndarray, recipe: Recipe) -> RunEpoch:
    return lambda epoch: _fit(model, EpochBatches(images, **_order(recipe, epoch)))


def _resident(model: keras.Model, images: np.ndarray, recipe: Recipe) -> RunEpoch:
    loop, rows = resident_loop(model), keras.ops.convert_to_tensor(images)
    return lambda epoch: loop.epoch(rows, batch_order(len(images), **_order(recipe, epoch)))


def _order(recipe: Recipe, epoch: int) -> dict[str, Any]:
    return {"batch_size": recipe.batch_size, "seed": recipe.seed, "epoch": epoch}


PIPELINES = {"arrays": _arrays, "tf.data": _tf_data, "pydataset": _pydataset, "resident": _resident}
