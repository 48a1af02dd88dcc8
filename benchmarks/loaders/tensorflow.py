"""tf.data: shuffled float32 batches, prefetched; image by image as its guide writes it, or by a gather a batch."""

import tensorflow as tf

from benchmarks.loaders.loading import LoadingTrial
from benchmarks.ports.timed_port import Case
from core_torch.files.splits import WHITE, Split, to_unit_range
from core_torch.spec.recipe import Recipe


def prepare(case: Case, split: Split, recipe: Recipe) -> LoadingTrial:
    """From memory, shuffled over the whole set, batched, prefetched; pixels are converted once, before or cached."""
    match case.variant:
        case "tf.data-cache":
            items = tf.data.Dataset.from_tensor_slices(split.images).map(_to_unit_range, tf.data.AUTOTUNE).cache()
        case "tf.data-gather":
            items = tf.data.Dataset.range(len(split))
        case _:
            items = tf.data.Dataset.from_tensor_slices(to_unit_range(split.images))
    pipeline = items.shuffle(len(split), seed=recipe.seed).batch(case.batch_size)
    if case.variant == "tf.data-gather":
        images = tf.constant(to_unit_range(split.images))
        pipeline = pipeline.map(lambda indices: tf.gather(images, indices))
    pipeline = pipeline.prefetch(tf.data.AUTOTUNE)

    def epoch_images(epoch: int) -> int:
        return sum(len(batch) for batch in pipeline)

    return LoadingTrial(lambda epoch: (batch.numpy().reshape(len(batch), -1) for batch in pipeline), epoch_images)


def _to_unit_range(image: tf.Tensor) -> tf.Tensor:
    """By division, as `ToTensor`; multiplication by 1/255 differs in the last bit."""
    return tf.cast(image, tf.float32) / WHITE
