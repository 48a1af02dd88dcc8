"""Keras's side of the benchmark, on the backend that KERAS_BACKEND names."""

import contextlib
import os

import keras
import numpy as np

from benchmarks.trial import Arrays, Case
from core_torch.contract.architecture import Architecture, architecture_named
from core_torch.contract.batch_order import batch_order
from core_torch.contract.errors import ConfigError, check_choice
from core_torch.contract.pixels import Split
from core_torch.contract.recipe import Recipe
from keras_impl.batches import unit_pixels
from keras_impl.model import build_autoencoder
from keras_impl.resident import resident_loop
from keras_impl.training import SCORING_BATCH, build_optimizer
from keras_impl.weight_layout import load_reference_weights, to_reference, to_reference_weights


class KerasTrial:
    """See `benchmarks.trial.Trial`. `images` are (N, pixels), of the architecture's size."""

    def __init__(self, case: Case, architecture: Architecture, images: np.ndarray, recipe: Recipe) -> None:
        self.case, self.architecture, self.images, self.recipe = case, architecture, images, recipe
        self.model = build_autoencoder(architecture, seed=recipe.seed)
        self.model.compile(build_optimizer(recipe), "mean_squared_error")
        self.loop = resident_loop(self.model)  # builds the optimizer's variables
        self.fresh = [np.array(keras.ops.convert_to_numpy(value)) for value in self.model.optimizer.variables]
        if case.route == "lean":
            self.resident = keras.ops.convert_to_tensor(images)
        if case.route == "tf.data":
            self.dataset = shuffled_dataset(images, batch_size=case.batch_size)

    def load(self, weights: Arrays) -> None:
        """Set every weight; put the optimizer back to its start."""
        load_reference_weights(self.model, self.architecture, weights)
        for variable, value in zip(self.model.optimizer.variables, self.fresh):
            variable.assign(value.copy())  # a copy: JAX may adopt the memory it is given

    def weights(self) -> Arrays:
        """The current weights."""
        return to_reference_weights(self.model, self.architecture)

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs (N, pixels)."""
        return self.model.predict(inputs, batch_size=SCORING_BATCH, verbose=0)

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """By the backend's own differentiation."""
        loss, gradients = self.loop.loss_and_gradients(*map(keras.ops.convert_to_tensor, (inputs, targets)))
        return float(loss), to_reference(gradients, self.model, self.architecture)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """By the code that the route times: the resident loop's step, or the one inside `fit`."""
        if self.case.route == "lean":
            return float(self.loop.step(*map(keras.ops.convert_to_tensor, (inputs, targets))))
        return float(self.model.train_on_batch(inputs, targets))

    def epoch(self, epoch: int) -> int:
        """One pass by the case's route; short last batches are kept on each."""
        size = self.case.batch_size
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            if self.case.route == "lean":
                order = batch_order(len(self.images), size, seed=self.recipe.seed, epoch=epoch)
                self.loop.epoch(self.resident, order)
            elif self.case.route == "tf.data":
                self.model.fit(self.dataset, shuffle=False)  # the dataset shuffles itself
            else:
                self.model.fit(self.images, self.images, batch_size=size)
        self.loop.synchronize()
        return len(self.images)


def shuffled_dataset(images: np.ndarray, *, batch_size: int) -> object:
    """(inputs, targets) batches from memory, shuffled anew in each pass over all images, prefetched."""
    import tensorflow as tf

    shuffled = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images)).batch(batch_size)
    return shuffled.map(lambda rows: (rows, rows)).prefetch(tf.data.AUTOTUNE)


def use_full_float32() -> bool:
    """Switch TF32 off, which TensorFlow and JAX use by default; whether there is an accelerator."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            tf.config.experimental.enable_tensor_float_32_execution(False)
            return bool(tf.config.list_physical_devices("GPU"))
        case "jax":
            import jax

            jax.config.update("jax_default_matmul_precision", "highest")
            return jax.default_backend() != "cpu"
        case _:
            import torch

            torch.backends.cudnn.allow_tf32 = False
            return torch.cuda.is_available()


def prepare(case: Case, split: Split, recipe: Recipe) -> KerasTrial:
    """The trial of a case.

    Raises:
        ConfigError: no such route on this backend, or the backend is on another device than the case says.
    """
    backend = keras.backend.backend()
    routes = ("lean", "fit", "tf.data") if backend == "tensorflow" else ("lean", "fit")
    check_choice("route", case.route, routes)
    found = "cuda" if use_full_float32() else "cpu"
    if case.device.split(":")[0] != found:
        raise ConfigError(f"device: found {case.device}, but Keras on {backend} runs on {found}")
    return KerasTrial(case, architecture_named(case.model), unit_pixels(split), recipe)
