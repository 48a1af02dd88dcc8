"""A trained model on disk, as every port writes and reads it: weights, architecture and recipe."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core_torch.files.locks import hold
from core_torch.files.weights import load_weights, save_weights
from core_torch.spec.architecture import Architecture, architecture_from, describe, parameter_shapes
from core_torch.spec.errors import CheckpointError, ConfigError
from core_torch.spec.recipe import Recipe
from core_torch.spec.weight_names import check_names_and_shapes

# What the ports write beside it, each its own: none may outlive the model it is of.
COMPANIONS = (
    *("metrics.json", "recipe.toml", "history.csv", "index.html"),
    *("model.keras", "reconstructions.npy"),
)
URL = re.compile(r"[A-Za-z][\w+.-]+:/")  # of the two slashes, a path keeps one


@dataclass(frozen=True)
class ModelFolder:
    """What such a folder holds.

    Attributes:
        weights: {name: array} in the reference's names and layout.
        manifest: everything else, the model's name and its dataset among it.
    """

    architecture: Architecture
    recipe: Recipe
    weights: Mapping[str, np.ndarray]
    manifest: Mapping[str, object]


def save_model_folder(
    folder: Path,
    weights: Mapping[str, np.ndarray],
    *,
    architecture: Architecture,
    recipe: Recipe,
    name: str,
    dataset: str,
) -> None:
    """Write into an existing folder; the manifest comes last.

    Args:
        name: of the model, as `--model` spells it.
        dataset: what it was trained on.

    Raises:
        CheckpointError: a weight is not finite, or the folder cannot be written to.
    """
    metadata = {"model": name, "dataset": dataset, "architecture": describe(architecture), "recipe": recipe.to_dict()}
    with hold(folder):
        try:
            for companion in COMPANIONS:  # of an earlier model
                (folder / companion).unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(f"{folder / companion}: cannot be replaced ({error.strerror})") from error
        save_weights(folder, weights, metadata=metadata)


def load_model_folder(folder: Path) -> ModelFolder:
    """Load a model's folder, verified before a tensor is used and before a model of its size is built.

    Raises:
        CheckpointError: a file is missing or damaged, the parts do not belong together, or the folder is a URL.
    """
    if URL.match(str(folder)):
        raise CheckpointError(f"{str(folder).replace(':/', '://', 1)}: is a URL, allowed: a local folder")
    weights, manifest = load_weights(folder)
    try:
        architecture = architecture_from(manifest.get("architecture"))
        recipe = Recipe().with_changes(**manifest["recipe"])  # type: ignore[arg-type]
    except (ConfigError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: the manifest is not one of this repository ({error})") from error
    check_names_and_shapes(weights, parameter_shapes(architecture), where=str(folder))
    return ModelFolder(architecture, recipe, weights, manifest)
