"""A trained model on disk, in files that any framework can read."""

from collections.abc import Mapping
from pathlib import Path

from core_torch.files.model_folder import load_model_folder, save_model_folder
from core_torch.models.autoencoder import Autoencoder, load_reference_weights, to_reference_weights
from core_torch.spec.recipe import Recipe


def save_checkpoint(folder: Path, model: Autoencoder, *, recipe: Recipe, name: str, dataset: str) -> None:
    """Save a model, see `save_model_folder`."""
    weights, architecture = to_reference_weights(model), model.architecture
    save_model_folder(folder, weights, architecture=architecture, recipe=recipe, name=name, dataset=dataset)


def load_checkpoint(folder: Path) -> tuple[Autoencoder, Recipe, Mapping[str, object]]:
    """Load (model, recipe, manifest) from a folder that any port wrote; see `load_model_folder`."""
    found = load_model_folder(folder)
    model = Autoencoder(found.architecture)
    load_reference_weights(model, found.weights)
    return model, found.recipe, found.manifest
