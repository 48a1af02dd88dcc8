"""Keras's side of the benchmark, on the backend that KERAS_BACKEND names."""

import contextlib
import os
from typing import Any

import keras
import numpy as np

from benchmarks.ports.frameworks import FRAMEWORKS
from benchmarks.ports.timed_port import Case
from core_torch.files.splits import Split
from core_torch.spec.batch_order import batch_order
from core_torch.spec.errors import ConfigError, check_choice
from core_torch.spec.recipe import Recipe
from keras_impl.candidate import KerasCandidate, use_full_float32
from keras_impl.data import unit_pixels

FIT_OPTIONS: dict[str, dict[str, Any]] = {
    "fit": {},
    "fit-10-steps": {"steps_per_execution": 10},
    "fit-50-steps": {"steps_per_execution": 50},
    "fit-jit": {"jit_compile": True},
}


class TimedKeras(KerasCandidate):
    """See `benchmarks.ports.timed_port.TimedPort`. `images` are (N, pixels), of the architecture's size.

    Raises:
        ConfigError: float64 on another backend than TensorFlow.
    """

    def __init__(self, case: Case, images: np.ndarray, recipe: Recipe) -> None:
        super().__init__(case.architecture, recipe, dtype=case.dtype, **FIT_OPTIONS.get(case.variant, {}))
        self.case = case
        self.images = images.astype(case.dtype, copy=False)
        if case.variant == "lean":
            self.resident = self._tensor(images)
        if case.variant == "tf.data":
            self.dataset = shuffled_dataset(self.images, batch_size=case.batch_size)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """By the code that the variant times: the resident loop's step, or the one inside `fit`."""
        if self.case.variant == "lean":
            return super().step(inputs, targets)
        return float(self.trained.train_on_batch(inputs, targets))

    def epoch(self, epoch: int) -> int:
        """One pass by the case's variant; short last batches are kept on each."""
        size = self.case.batch_size
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            if self.case.variant == "lean":
                order = batch_order(len(self.images), size, seed=self.recipe.seed, epoch=epoch)
                self.loop.epoch(self.resident, order)
            elif self.case.variant == "tf.data":
                self.trained.fit(self.dataset, shuffle=False)  # the dataset shuffles itself
            else:
                self.trained.fit(self.images, self.images, batch_size=size)
        self.loop.synchronize()
        return len(self.images)


def shuffled_dataset(images: np.ndarray, *, batch_size: int) -> object:
    """(inputs, targets) batches from memory, shuffled anew in each pass over all images, prefetched."""
    import tensorflow as tf

    shuffled = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images)).batch(batch_size)
    return shuffled.map(lambda rows: (rows, rows)).prefetch(tf.data.AUTOTUNE)


def prepare(case: Case, split: Split, recipe: Recipe) -> TimedKeras:
    """The timed port of a case.

    Raises:
        ConfigError: no such variant or dtype on this backend, or it is on another device than the case says.
    """
    backend = keras.backend.backend()
    check_choice("variant", case.variant, FRAMEWORKS[f"keras-{backend}"].variants)
    found = "cuda" if use_full_float32() else "cpu"
    if case.device.split(":")[0] != found:
        raise ConfigError(f"device: found {case.device}, but Keras on {backend} runs on {found}")
    return TimedKeras(case, unit_pixels(split), recipe)
