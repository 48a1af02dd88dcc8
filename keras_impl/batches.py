"""How images reach `fit`. Every route trains on the same batches, those of the contract's `batch_order`.

The fourth route, which never leaves the device, is in `resident`.
"""

from typing import Any

import keras
import numpy as np

from core_torch.contract.batch_order import batch_order, epoch_order
from core_torch.contract.pixels import Split, to_unit_range


def unit_pixels(split: Split) -> np.ndarray:
    """(N, pixels) float32 in [0, 1]."""
    return to_unit_range(split.images).reshape(len(split), -1)


def shuffled_arrays(images: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """A copy of images (N, pixels) in that epoch's order, for `fit(..., shuffle=False)`."""
    return images[epoch_order(len(images), seed=seed, epoch=epoch)]


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


def tf_dataset(images: Any, *, batch_size: int, seed: int, epoch: int) -> Any:
    """The same batches as a `tf.data.Dataset` with prefetching; images (N, pixels) is a TensorFlow tensor."""
    import tensorflow as tf

    def gather(indices: Any) -> tuple[Any, Any]:
        rows = tf.gather(images, indices)
        return rows, rows

    order = tf.data.Dataset.from_tensor_slices(epoch_order(len(images), seed=seed, epoch=epoch))
    return order.batch(batch_size).map(gather).prefetch(tf.data.AUTOTUNE)
