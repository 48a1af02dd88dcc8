"""Pretraining of the dense models: each layer with its mirror, by the training loop."""

from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import Autoencoder
from core_torch.spec.recipe import Recipe
from core_torch.training.history import History
from core_torch.training.layer_by_layer.pairs import (
    check_data,
    dense_architecture,
    layer_inputs,
    layer_pair,
    layer_recipe,
)
from core_torch.training.loop import train


def pretrain(
    model: Autoencoder, dataset: ResidentDataset, *, recipe: Recipe | None = None, progress: bool = True
) -> list[History]:
    """Train each layer of a dense model with its mirror, in place, from the first on (Bengio et al. 2007).

    Every layer has the recipe's epochs. When denoising, only images are corrupted: the layers above learn from clean
    activations. Vincent et al. (2010, section 3.3) corrupt the input of every layer.

    Raises:
        ConfigError: the model is not fully connected, or the data is not finite, or streamed for two layers or more.
        DivergenceError: the loss of an epoch is not finite.
    """
    depth, recipe = dense_architecture(model).depth, recipe or Recipe()
    check_data(dataset, depth=depth)
    model.to(dataset.device)
    histories = []
    for index in range(depth):
        inputs = layer_inputs(model, index, dataset)
        histories.append(train(layer_pair(model, index), inputs, recipe=layer_recipe(recipe, index), progress=progress))
    return histories
