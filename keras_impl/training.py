"""Train by a recipe, with any input pipeline."""

import hashlib
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import keras
import numpy as np

from core_torch.files.locks import hold
from core_torch.files.splits import Split, hold_out
from core_torch.spec.early_stopping import EarlyStopping
from core_torch.spec.errors import ConfigError, DivergenceError
from core_torch.spec.recipe import Recipe
from keras_impl.checkpoint import FOLDER_NAME, Backup, History, model_hash
from keras_impl.contractive import ContractiveAutoencoder
from keras_impl.corruption import Corruption
from keras_impl.data import PIPELINES, parts_to_share, unit_pixels
from keras_impl.optimizers import build_optimizer
from keras_impl.options import check_options

SCORING_BATCH = 512  # images per forward pass where no gradient is needed


def train(
    model: keras.Model,
    split: Split,
    *,
    recipe: Recipe,
    validation: Split | None = None,
    pipeline: str = "arrays",
    jit_compile: bool | str = "auto",
    steps_per_execution: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    backup: Path | None = None,
) -> History:
    """Train `model` in place, and leave it uncompiled. All pipelines and backends take the same batches in order.

    Args:
        model: from `build_autoencoder`.
        validation: judges epochs; by default the recipe's fraction of `split`, which is then not trained on.
        pipeline: "arrays", "tf.data", "pydataset" go through `fit`; "resident" keeps the split on the device.
        jit_compile: as of `keras.Model.compile`; "auto" is eager on torch.
        steps_per_execution: as of `keras.Model.compile`, for the pipelines through `fit`.
        callbacks: told of the training and its epochs, not of batches; they may set `stop_training`.
        backup: folder for the state after each epoch. If it holds one, training goes on from there, to the very
            weights and errors of a run that was never stopped, on the same machine and versions.

    Returns:
        One value per epoch: "train_loss", the objective averaged over images before each step;
        "validation_mse", the squared error averaged over images and pixels after the epoch; and "seconds" of
        wall time, validation included. With `recipe.patience`, training stops after so many epochs without a
        better one, and the best weights are put back.

    Raises:
        CheckpointError: the backup is damaged, of another run, written to by another process, or cannot be written.
        ConfigError: the port, the backend or the pipeline does not offer what was asked for.
        DivergenceError: after an epoch, which runs as one, a weight, the loss or the error is not finite.
    """
    options: dict[str, Any] = {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
    shared = keras.distribution.distribution() is not None
    check_options(recipe, backend=keras.backend.backend(), pipeline=pipeline, data_parallel=shared, **options)
    if validation is None and recipe.validation_fraction:
        kept, held = hold_out(len(split), fraction=recipe.validation_fraction, seed=recipe.seed)
        split, validation = split.take(kept), split.take(held)
    steps = recipe.epochs * math.ceil(len(split) / recipe.batch_size)
    trained = training_model(model, recipe)
    trained.compile(build_optimizer(recipe, steps=steps), "mean_squared_error", **options)
    trained.optimizer.build(trained.trainable_variables)
    history: History = {name: [] for name in ("train_loss", *(["validation_mse"] if validation else []), "seconds")}
    best_weights: list[np.ndarray] | None = None
    with nullcontext() if backup is None else hold(backup / FOLDER_NAME):
        if backup is not None:
            metadata = _identity(model, split, validation) | recipe.to_dict() | options
            metadata["route"] = pipeline  # the name that backups have for it
            saved = Backup(backup, trained, metadata=metadata)
            history, best_weights = saved.restore() or (history, best_weights)
        told = keras.callbacks.CallbackList(callbacks, model=trained)
        told.on_train_begin()
        run_epoch = PIPELINES[pipeline](trained, unit_pixels(split), recipe)
        stopping = EarlyStopping(recipe.patience, history.get("validation_mse", ()))
        for epoch in range(len(history["train_loss"]), recipe.epochs):
            if stopping.should_stop or trained.stop_training:
                break
            started = time.perf_counter()
            told.on_epoch_begin(epoch)
            history["train_loss"].append(run_epoch(epoch))
            if validation:
                history["validation_mse"].append(squared_error(model, validation) / validation.images.size)
                if stopping.update(history["validation_mse"][-1]):
                    best_weights = model.get_weights()
            history["seconds"].append(time.perf_counter() - started)
            check_finite(model, history, epoch=epoch)
            if backup is not None:
                saved.save(history, best_weights)
            told.on_epoch_end(epoch, {name: values[-1] for name, values in history.items()})
        told.on_train_end()
    if best_weights is not None:
        model.set_weights(best_weights)
    return history


def check_finite(model: keras.Model, history: History, *, epoch: int) -> None:
    """`DivergenceError` unless what was recorded of this epoch is finite, and every weight, which may hide it."""
    weights = (weight.path for weight in model.weights if not np.isfinite(keras.ops.convert_to_numpy(weight)).all())
    figures = (f"the {name}" for name, values in history.items() if not math.isfinite(values[-1]))
    if name := next(chain(figures, weights), None):
        raise DivergenceError(f"epoch {epoch}: {name} is not finite; lower the learning_rate")


def _identity(model: keras.Model, *splits: Split | None) -> dict[str, object]:
    """What beside the recipe decides every bit of a run."""
    distribution = keras.distribution.distribution()
    return {
        "backend": keras.backend.backend(),
        "devices": distribution.num_model_replicas if distribution else 1,
        "model": model_hash(model),
        "images": [hashlib.sha256(split.images.tobytes()).hexdigest() for split in splits if split],
    }


def squared_error(model: keras.Model, split: Split) -> float:
    """Squared error summed over images and pixels, in float64."""
    images = unit_pixels(split)
    return float(np.sum((predict(model, images).astype(np.float64) - images) ** 2))


def predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """As `model.predict`, also of numbers of images that devices cannot share equally.

    Raises:
        ConfigError: the images are not of the size that the model takes.
    """
    if images.shape[1:] != model.input_shape[1:]:
        raise ConfigError(f"images: found shape {images.shape[1:]}, allowed: {model.input_shape[1:]}")
    parts = parts_to_share(images, SCORING_BATCH)
    return np.concatenate([model.predict(part, batch_size=SCORING_BATCH, verbose=0) for part in parts])


def training_model(model: keras.Model, recipe: Recipe) -> keras.Model:
    """A model to compile and train that shares the layers of `model`, with what the objective puts around them.

    `model` itself is not compiled, so that a file saved from it holds standard Keras objects only.
    """
    if recipe.objective == "contractive":
        return ContractiveAutoencoder(model.input, model.output, contraction=recipe.contraction)
    if recipe.objective == "denoising":
        corrupt = Corruption(recipe.corruption, recipe.corruption_level, seed=recipe.seed)
        return keras.Sequential([keras.Input(model.input_shape[1:]), corrupt, model])
    return keras.Model(model.input, model.output)
