"""tf.data as its guide writes it: shuffled float32 batches, prefetched."""

import tensorflow as tf

from benchmarks.loading import LoadingTrial
from benchmarks.trial import Case
from core_torch.contract.pixels import Split, to_unit_range
from core_torch.contract.recipe import Recipe


def prepare(case: Case, split: Split, recipe: Recipe) -> LoadingTrial:
    """from_tensor_slices, shuffle over the whole set, batch, prefetch; pixels are converted once, before."""
    pixels = to_unit_range(split.images)
    pipeline = tf.data.Dataset.from_tensor_slices(pixels).shuffle(len(split), seed=recipe.seed)
    pipeline = pipeline.batch(case.batch_size).prefetch(tf.data.AUTOTUNE)

    def epoch_images(epoch: int) -> int:
        return sum(len(batch) for batch in pipeline)

    return LoadingTrial(
        lambda epoch: (batch.numpy().reshape(len(batch), -1) for batch in pipeline), epoch_images
    )
