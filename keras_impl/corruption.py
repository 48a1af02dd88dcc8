"""Corruption of the inputs, for the denoising objective (Vincent et al., JMLR 11 (2010), section 3.3)."""

import keras
from keras import ops

from core_torch.spec.architecture import IMAGE_SIDE
from keras_impl.tensors import Tensor


@keras.saving.register_keras_serializable("keras_impl")
class Corruption(keras.layers.Layer):
    """Damages images (N, pixels) in [0, 1] in training, drawn afresh at every call; leaves them as they are else.

    Args:
        kind: `gaussian` adds N(0, level^2), clipped to [0, 1]; `masking` sets exactly round(level * pixels) pixels of
            each image to 0; `salt-and-pepper` as many to 0 or 1 by a fair coin; `patch` a square of that share of
            the area, its side rounded, anywhere in the image, to 0.
    """

    def __init__(self, kind: str, level: float, *, seed: int, **options: object) -> None:
        super().__init__(**({"name": "corruption"} | options))
        self.kind, self.level = kind, level
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """Of the shape of `images`."""
        if not training:
            return images
        if self.kind == "gaussian":
            noise = keras.random.normal(ops.shape(images), stddev=self.level, seed=self.generator)
            return ops.clip(images + noise, 0, 1)
        if self.kind == "patch":
            return ops.where(self._patch(images), 0.0, images)
        # Ranks, because of equal draws: exactly so many pixels are hit.
        ranks = ops.argsort(ops.argsort(self._uniform(images)))
        coin = self._uniform(images) < 0.5 if self.kind == "salt-and-pepper" else ops.zeros_like(images)
        return ops.where(ranks < round(self.level * images.shape[1]), ops.cast(coin, images.dtype), images)

    def _uniform(self, images: Tensor) -> Tensor:
        return keras.random.uniform(ops.shape(images), seed=self.generator)

    def _patch(self, images: Tensor) -> Tensor:
        """(N, pixels) boolean: where each image's square lies; row and column are drawn independently."""
        side, place = round(IMAGE_SIDE * self.level**0.5), ops.arange(IMAGE_SIDE, dtype="int32")
        corners = (ops.shape(images)[0], 2, 1)
        start = keras.random.randint(corners, 0, IMAGE_SIDE - side + 1, seed=self.generator)
        inside = ops.logical_and(place >= start, place < start + side)  # (N, 2, IMAGE_SIDE)
        return ops.reshape(ops.logical_and(inside[:, 0, :, None], inside[:, 1, None, :]), ops.shape(images))
