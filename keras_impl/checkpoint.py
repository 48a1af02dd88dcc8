"""A trained model on disk: the folder that every port reads, and a `.keras` file."""

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from core_torch.files.atomic import write_atomically
from core_torch.files.model_folder import load_model_folder, save_model_folder
from core_torch.spec.architecture import Architecture
from core_torch.spec.errors import CheckpointError
from core_torch.spec.recipe import Recipe
from keras_impl.model import build_autoencoder
from keras_impl.weight_layout import load_reference_weights, to_reference_weights

KERAS_NAME = "model.keras"


def save_checkpoint(
    folder: Path, model: keras.Model, architecture: Architecture, *, recipe: Recipe, name: str, dataset: str
) -> None:
    """As `save_model_folder`, and for Keras a `.keras` file, unless the model is tied."""
    weights = to_reference_weights(model, architecture)
    save_model_folder(folder, weights, architecture=architecture, recipe=recipe, name=name, dataset=dataset)
    if not getattr(architecture, "tied", False):
        save_model(model, folder / KERAS_NAME)


def load_checkpoint(folder: Path) -> tuple[keras.Model, Recipe, Mapping[str, object]]:
    """(model, recipe, manifest) of a folder that any port wrote; see `load_model_folder`."""
    found = load_model_folder(folder)
    model = build_autoencoder(found.architecture)
    load_reference_weights(model, found.architecture, found.weights)
    return model, found.recipe, found.manifest


def save_model(model: keras.Model, path: Path) -> None:
    """Write a `.keras` file in one step: unlike with `model.save`, a crash leaves the old file or the new one.

    Raises:
        CheckpointError: the file cannot be written, or its weights are tied.
    """
    if keras.backend.backend() == "torch":  # saving loads TensorFlow where there is one: triton must come before it
        with suppress(ImportError):
            import_module("triton")
    try:
        with TemporaryDirectory() as folder:  # Keras saves under a name only
            staged = Path(folder) / KERAS_NAME
            model.save(staged)
            content = staged.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be staged ({error.strerror})") from error
    write_atomically(path, content)
