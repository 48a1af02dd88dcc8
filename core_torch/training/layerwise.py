"""Training one layer at a time: pretraining of the dense models.

A layer and its mirror make a shallow autoencoder of what the deep model feeds that layer: the same
modules compute it, so nothing stands between the layers here that is not there in the whole.
"""

from copy import copy
from dataclasses import replace

import torch
from torch import nn

from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import Autoencoder
from core_torch.objectives.reconstruction import EVALUATION_BATCH
from core_torch.spec.architecture import FullyConnected
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import Recipe
from core_torch.training.history import History
from core_torch.training.loop import train


def pretrain(
    model: Autoencoder, dataset: ResidentDataset, *, recipe: Recipe | None = None, progress: bool = True
) -> list[History]:
    """Train each layer of a dense model with its mirror, in place, from the first on (Bengio et al. 2007).

    Every layer has the recipe's epochs. When denoising, only images are corrupted here: the layers above learn
    from clean activations, where Vincent et al. (2010, section 3.3) corrupt the input of every layer in training.

    Raises:
        ConfigError: the model is not fully connected, or the data is not finite, or streamed for two layers or more.
        DivergenceError: the loss of an epoch is not finite.
    """
    depth, recipe = depth_of(model), recipe or Recipe()
    check_data(dataset, depth=depth)
    model.to(dataset.device)
    histories = []
    for index in range(depth):
        pair, inputs = layer_pair(model, index), layer_inputs(model, index, dataset)
        histories.append(train(pair, inputs, recipe=recipe_of_layer(recipe, index), progress=progress))
    return histories


def layer_pair(model: Autoencoder, index: int) -> Autoencoder:
    """Encoder layer `index` and its mirror as a shallow autoencoder that holds the model's own modules."""
    pair = Autoencoder(pair_architecture(model.architecture, index))  # type: ignore[arg-type]
    mirror = 2 * (depth_of(model) - 1 - index)  # a layer and its activation are two modules
    pair.encoder = nn.Sequential(*model.encoder[2 * index : 2 * index + 2])
    pair.decoder = nn.Sequential(*model.decoder[mirror : mirror + 2])
    return pair


@torch.no_grad()
def layer_inputs(model: Autoencoder, index: int, dataset: ResidentDataset) -> ResidentDataset:
    """What the model feeds encoder layer `index`: `dataset` itself, or clean activations (N, width)."""
    if index == 0:
        return dataset
    batches = dataset.batches(EVALUATION_BATCH, shuffle=False)
    part = copy(dataset)
    part.data = part.targets = torch.cat([model.encoder[: 2 * index](targets) for _, targets in batches])
    return part


def pair_architecture(whole: FullyConnected, index: int) -> FullyConnected:
    """Layer `index` and its mirror, with the activations that they have in the whole."""
    return replace(
        whole,
        widths=whole.widths[index : index + 2],
        code_activation=whole.code_activation if index == len(whole.widths) - 2 else whole.hidden_activation,
        output_activation=whole.output_activation if index == 0 else whole.hidden_activation,
    )


def recipe_of_layer(recipe: Recipe, index: int) -> Recipe:
    """Only images are corrupted: above the first layer denoising is standard training."""
    return recipe.with_changes(objective="standard") if index and recipe.objective == "denoising" else recipe


def depth_of(model: Autoencoder) -> int:
    """Number of dense layers of the encoder; `ConfigError` unless it has no others."""
    if not isinstance(model.architecture, FullyConnected):
        found = type(model.architecture).__name__
        raise ConfigError(f"model: found {found}, allowed layer by layer: FullyConnected")
    return len(model.architecture.widths) - 1


def check_data(dataset: ResidentDataset, *, depth: int) -> None:
    """`ConfigError` for values that training would spread to every weight, and for activations that may not fit."""
    if depth > 1 and dataset.residency == "streamed":
        raise ConfigError("residency: found streamed, allowed for two layers or more: float32, uint8")
    if not (dataset.data.isfinite().all() and dataset.targets.isfinite().all()):
        raise ConfigError("data: holds a value that is not finite, allowed: finite numbers")
