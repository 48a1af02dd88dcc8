"""A trained model on disk: weights, architecture and recipe, in files that any framework can read."""

from pathlib import Path

from core_torch.contract.architecture import architecture_from, describe, parameter_shapes
from core_torch.contract.errors import CheckpointError, ConfigError
from core_torch.contract.recipe import Recipe
from core_torch.contract.weights_file import check_names_and_shapes, load_weights, save_weights
from core_torch.models.autoencoder import Autoencoder, load_reference_weights, to_reference_weights


def save_checkpoint(folder: Path, model: Autoencoder, *, recipe: Recipe, name: str, dataset: str) -> None:
    """Write the model into an existing folder; the manifest comes last.

    Args:
        name: of the model, as `--model` spells it.
        dataset: what it was trained on.

    Raises:
        CheckpointError: a weight is not finite, or the folder cannot be written to.
    """
    about = {
        "model": name,
        "dataset": dataset,
        "architecture": describe(model.architecture),
        "recipe": recipe.to_dict(),
    }
    save_weights(folder, to_reference_weights(model), about=about)


def load_checkpoint(folder: Path) -> tuple[Autoencoder, Recipe, dict[str, object]]:
    """(model, recipe, manifest) of a folder that `save_checkpoint` wrote, verified before a tensor is used.

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
    model = Autoencoder(architecture)
    load_reference_weights(model, weights)
    return model, recipe, manifest
