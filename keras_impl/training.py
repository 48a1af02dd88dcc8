"""Training by a recipe, along any data route."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from core_torch.contract.batch_order import batch_order
from core_torch.contract.errors import DivergenceError
from core_torch.contract.pixels import Split, hold_out
from core_torch.contract.recipe import Recipe
from keras_impl.batches import EpochBatches, shuffled_arrays, tf_dataset, unit_pixels
from keras_impl.contractive import ContractiveAutoencoder
from keras_impl.corruption import Corruption
from keras_impl.optimizers import build_optimizer
from keras_impl.options import check_options
from keras_impl.resident import resident_loop

SCORING_BATCH = 512  # images per forward pass where no gradient is needed

History = dict[str, list[float]]
RunEpoch = Callable[[int], float]  # epoch, from 0 -> its mean training loss


def train(
    model: keras.Model,
    split: Split,
    *,
    recipe: Recipe,
    validation: Split | None = None,
    route: str = "arrays",
    jit_compile: bool | str = "auto",
    steps_per_execution: int = 1,
) -> History:
    """Train `model` in place, and leave it uncompiled: the same batches in the same order for every route and backend.

    Args:
        model: from `build_autoencoder`.
        validation: judges epochs; by default the recipe's fraction of `split`, which is then not trained on.
        route: "arrays", "tf.data", "pydataset" go through `fit`; "resident" keeps the split on the device.
        jit_compile: as of `keras.Model.compile`; "auto" is eager on torch.
        steps_per_execution: as of `keras.Model.compile`, for the routes through `fit`.

    Returns:
        One value per epoch: "train_loss", the objective averaged over images before each step, and
        "validation_mse", the squared error averaged over images and pixels after the epoch. With
        `recipe.patience`, training stops after so many epochs without a better one, and the best weights are
        put back.

    Raises:
        ConfigError: the port, the backend or the route does not offer what was asked for.
        DivergenceError: the loss of an epoch is not finite.
    """
    options: dict[str, Any] = {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
    check_options(recipe, backend=keras.backend.backend(), route=route, **options)
    if validation is None and recipe.validation_fraction:
        kept, held = hold_out(len(split), fraction=recipe.validation_fraction, seed=recipe.seed)
        split, validation = split.take(kept), split.take(held)
    trained = training_model(model, recipe)
    trained.compile(build_optimizer(recipe), "mean_squared_error", **options)
    run_epoch = ROUTES[route](trained, unit_pixels(split), recipe)
    history: History = {"train_loss": [], "validation_mse": []} if validation else {"train_loss": []}
    best_weights = None
    for epoch in range(recipe.epochs):
        history["train_loss"].append(run_epoch(epoch))
        if not math.isfinite(history["train_loss"][-1]):
            raise DivergenceError(f"epoch {epoch}: the training loss is not finite; lower the learning_rate")
        if validation:
            history["validation_mse"].append(squared_error(model, validation) / validation.images.size)
        if recipe.patience:
            best = best_epoch(history["validation_mse"])
            if best == epoch:
                best_weights = model.get_weights()
            if epoch - best >= recipe.patience:
                break
    if best_weights is not None:
        model.set_weights(best_weights)
    return history


def best_epoch(errors: list[float]) -> int:
    """The last epoch of least error."""
    return max(range(len(errors)), key=lambda epoch: (-errors[epoch], epoch))


def squared_error(model: keras.Model, split: Split) -> float:
    """Squared error summed over images and pixels, in float64."""
    images = unit_pixels(split)
    outputs = model.predict(images, batch_size=SCORING_BATCH, verbose=0)
    return float(np.sum((outputs.astype(np.float64) - images) ** 2))


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


def _fit(model: keras.Model, data: object, targets: object = None, *, batch_size: int | None = None) -> float:
    """One epoch of `fit` in the order given; Keras's running loss, weighted by batch length."""
    fitted = model.fit(data, targets, batch_size=batch_size, epochs=1, shuffle=False, verbose=0)
    return float(fitted.history["loss"][-1])


def _arrays(model: keras.Model, images: np.ndarray, recipe: Recipe) -> RunEpoch:
    def run(epoch: int) -> float:
        shuffled = shuffled_arrays(images, seed=recipe.seed, epoch=epoch)
        return _fit(model, shuffled, shuffled, batch_size=recipe.batch_size)

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


ROUTES = {"arrays": _arrays, "tf.data": _tf_data, "pydataset": _pydataset, "resident": _resident}
