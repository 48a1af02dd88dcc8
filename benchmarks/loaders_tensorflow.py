"""tf.data as its guide writes it: shuffled float32 batches, prefetched."""

import tensorflow as tf

from benchmarks.loading import LoadingTrial
from benchmarks.trial import Case
from core_torch.contract.pixels import WHITE, Split, to_unit_range
from core_torch.contract.recipe import Recipe


def prepare(case: Case, split: Split, recipe: Recipe) -> LoadingTrial:
    """From memory, shuffled over the whole set, batched, prefetched; pixels are converted once, before or cached."""
    if case.route == "tf.data-cache":
        pipeline = tf.data.Dataset.from_tensor_slices(split.images).map(_to_unit_range, tf.data.AUTOTUNE).cache()
    else:
        pipeline = tf.data.Dataset.from_tensor_slices(to_unit_range(split.images))
    pipeline = pipeline.shuffle(len(split), seed=recipe.seed)
    pipeline = pipeline.batch(case.batch_size).prefetch(tf.data.AUTOTUNE)

    def epoch_images(epoch: int) -> int:
        return sum(len(batch) for batch in pipeline)

    return LoadingTrial(
        lambda epoch: (batch.numpy().reshape(len(batch), -1) for batch in pipeline), epoch_images
    )


def _to_unit_range(image: tf.Tensor) -> tf.Tensor:
    """By division, as `ToTensor`; multiplication by 1/255 differs in the last bit."""
    return tf.cast(image, tf.float32) / WHITE
