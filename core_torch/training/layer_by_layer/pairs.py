"""A layer and its mirror as a shallow autoencoder, and what the deep model feeds it.

The pair computes with the same modules as the deep model. Nothing stands between the layers here that is not there
in the whole.
"""

from dataclasses import replace

import torch
from torch import nn

from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import Autoencoder
from core_torch.objectives.reconstruction import EVALUATION_BATCH
from core_torch.spec.architecture import FullyConnected
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import Recipe


def dense_architecture(model: Autoencoder) -> FullyConnected:
    """Return the widths and activations; `ConfigError` unless every layer is dense."""
    if not isinstance(model.architecture, FullyConnected):
        found = type(model.architecture).__name__
        raise ConfigError(f"model: found {found}, allowed layer by layer: FullyConnected")
    return model.architecture


def check_data(dataset: ResidentDataset, *, depth: int) -> None:
    """Raise `ConfigError` for values that would spread to every weight, and for activations that may not fit."""
    if depth > 1 and dataset.residency == "streamed":
        raise ConfigError("residency: found streamed, allowed for two layers or more: float32, uint8")
    if not (dataset.data.isfinite().all() and dataset.targets.isfinite().all()):
        raise ConfigError("data: holds a value that is not finite, allowed: finite numbers")


def pair_architecture(model: Autoencoder, index: int) -> FullyConnected:
    """Return layer `index` and its mirror, with the activations that they have in the whole."""
    whole = dense_architecture(model)
    return replace(
        whole,
        widths=whole.widths[index : index + 2],
        code_activation=whole.code_activation if index == whole.depth - 1 else whole.hidden_activation,
        output_activation=whole.output_activation if index == 0 else whole.hidden_activation,
    )


def layer_pair(model: Autoencoder, index: int) -> Autoencoder:
    """Return encoder layer `index` and its mirror as an autoencoder that holds the model's own modules."""
    pair = Autoencoder(pair_architecture(model, index))
    mirror = 2 * (dense_architecture(model).depth - 1 - index)  # a layer and its activation are two modules
    pair.encoder = nn.Sequential(*model.encoder[2 * index : 2 * index + 2])
    pair.decoder = nn.Sequential(*model.decoder[mirror : mirror + 2])
    return pair


@torch.no_grad()
def layer_inputs(model: Autoencoder, index: int, dataset: ResidentDataset) -> ResidentDataset:
    """Return what the model feeds encoder layer `index`: `dataset` itself, or clean activations (N, width)."""
    if index == 0:
        return dataset
    batches = dataset.batches(EVALUATION_BATCH, shuffle=False)
    return dataset.with_data(torch.cat([model.encoder[: 2 * index](targets) for _, targets in batches]))


def layer_recipe(recipe: Recipe, index: int) -> Recipe:
    """Return the recipe of one layer: only images are corrupted, above the first layer denoising is standard."""
    return recipe.with_changes(objective="standard") if index and recipe.objective == "denoising" else recipe
