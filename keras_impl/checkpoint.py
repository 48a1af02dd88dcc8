"""A trained model on disk: the folder that every port reads, and a `.keras` file."""

import os
import secrets
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import keras

from core_torch.contract.architecture import Architecture, architecture_from, describe, parameter_shapes
from core_torch.contract.errors import CheckpointError, ConfigError
from core_torch.contract.recipe import Recipe
from core_torch.contract.weights_file import check_names_and_shapes, load_weights, save_weights
from keras_impl.model import build_autoencoder
from keras_impl.weight_layout import load_reference_weights, to_reference_weights

KERAS_NAME = "model.keras"


def save_checkpoint(
    folder: Path, model: keras.Model, architecture: Architecture, *, recipe: Recipe, name: str, dataset: str
) -> None:
    """Write the model into an existing folder, for Keras, unless it is tied, and for every port; the manifest last.

    Args:
        name: of the model, as `--model` spells it.
        dataset: what it was trained on.

    Raises:
        CheckpointError: a weight is not finite, or the folder cannot be written to.
    """
    about = {
        "model": name,
        "dataset": dataset,
        "architecture": describe(architecture),
        "recipe": recipe.to_dict(),
    }
    weights = to_reference_weights(model, architecture)
    if getattr(architecture, "tied", False):
        (folder / KERAS_NAME).unlink(missing_ok=True)  # of an earlier model
    else:
        save_model(model, folder / KERAS_NAME)
    save_weights(folder, weights, about=about)


def load_checkpoint(folder: Path) -> tuple[keras.Model, Recipe, dict[str, object]]:
    """(model, recipe, manifest) of a folder that any port's `train --output` wrote, verified before it is used.

    Raises:
        CheckpointError: a file is missing or damaged, or the parts do not belong together.
    """
    weights, manifest = load_weights(folder)
    try:
        architecture = architecture_from(manifest.get("architecture"))
        recipe = Recipe().with_changes(**manifest["recipe"])  # type: ignore[arg-type]
    except (ConfigError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: the manifest is not one of this repository ({error})") from error
    # Before the model is built: how large it is, only the manifest says.
    check_names_and_shapes(weights, parameter_shapes(architecture), where=str(folder))
    model = build_autoencoder(architecture)
    load_reference_weights(model, architecture, weights)
    return model, recipe, manifest


def save_model(model: keras.Model, path: Path) -> None:
    """Write a `.keras` file in one step: unlike with `model.save`, a crash leaves the old file or the new one.

    Raises:
        CheckpointError: the file cannot be written, or its weights are tied.
    """
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(8)}.keras")
    if keras.backend.backend() == "torch":  # saving loads TensorFlow where there is one: triton must come before it
        with suppress(ImportError):
            import_module("triton")
    try:
        try:
            model.save(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        for orphan in path.parent.glob(f".{path.stem}-{'?' * 16}.keras"):  # of a save that was killed
            orphan.unlink()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from error
