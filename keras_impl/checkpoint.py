"""Files of this port: a trained model in the folder that every port reads, a `.keras` file, the state of a run."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np

from core_torch.files.atomic import write_atomically
from core_torch.files.model_folder import load_model_folder, save_model_folder
from core_torch.files.run_state import as_stored, check_same_run
from core_torch.files.weights import MANIFEST_NAME, load_arrays, save_arrays
from core_torch.spec.architecture import Architecture
from core_torch.spec.errors import CheckpointError
from core_torch.spec.recipe import Recipe
from core_torch.spec.weight_names import check_names_and_shapes
from keras_impl.model import build_autoencoder
from keras_impl.weight_layout import load_reference_weights, to_reference_weights

KERAS_NAME = "model.keras"
FOLDER_NAME = "backup"  # its own, so that a backup may lie beside the results
DESCRIBING = ("units", "filters", "kernel_size", "strides", "pool_size", "padding", "cropping", "dims", "use_bias")

History = dict[str, list[float]]


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


class Backup:
    """Of one run: every variable of a compiled model and its optimizer, the best weights so far, the history.

    Args:
        folder: created if need be; for one run at a time.
        metadata: {name: plain value}, what must be the same for a run to go on.

    Raises:
        CheckpointError: the folder cannot be created.
    """

    def __init__(self, folder: Path, model: keras.Model, *, metadata: Mapping[str, object]) -> None:
        self.folder, self.metadata = folder / FOLDER_NAME, as_stored(metadata)
        groups = {"model": model.variables, "optimizer": model.optimizer.variables}
        self.variables = {
            f"{group}/{index}": variable
            for group, variables in groups.items()
            for index, variable in enumerate(variables)
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{folder}: cannot be written to ({error.strerror})") from error

    def save(self, history: History, best_weights: list[np.ndarray] | None = None) -> None:
        """Replace the backup in one step: once this returns, the epoch is not lost whatever happens."""
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in self.variables.items()}
        arrays |= {f"best/{index}": array for index, array in enumerate(best_weights or ())}
        save_arrays(self.folder, arrays, metadata={"run": self.metadata, "history": history})

    def restore(self) -> tuple[History, list[np.ndarray] | None] | None:
        """Set every variable; (history, best weights), or None without a backup.

        Raises:
            CheckpointError: a file is damaged, or of another run.
        """
        if not (self.folder / MANIFEST_NAME).exists():
            return None
        arrays, manifest = load_arrays(self.folder)
        run, history = manifest.get("run"), manifest.get("history")
        if not isinstance(run, dict) or not isinstance(history, dict):
            raise CheckpointError(f"{self.folder}: is not a backup")
        check_same_run(self.folder, run, self.metadata)
        kept = sum(name.startswith("best/") for name in arrays)
        best = [arrays.pop(name) for index in range(kept) if (name := f"best/{index}") in arrays]
        shapes = {name: tuple(variable.shape) for name, variable in self.variables.items()}
        check_names_and_shapes(arrays, shapes, where=str(self.folder))
        for name, variable in self.variables.items():
            variable.assign(arrays[name])
        return history, best or None


def model_hash(model: keras.Model) -> str:
    """sha256 of what each layer of the encoder and the decoder is, but for its name.

    Not by `get_config`, which loads TensorFlow on every backend.
    """
    text = []
    for layer in (layer for part in ("encoder", "decoder") for layer in model.get_layer(part).layers):
        activation = getattr(layer, "activation", None)
        text += [type(layer).__name__, layer.output.shape, getattr(activation, "__name__", None)]
        text += [getattr(layer, name, None) for name in DESCRIBING]
    return hashlib.sha256(str(text).encode()).hexdigest()
