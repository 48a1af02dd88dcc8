"""Training one layer at a time: pretraining of the standard models, and the randomized ones.

A layer and its mirror make a shallow autoencoder of what the deep model feeds that layer: the same
modules compute it, so nothing stands between the layers here that is not there in the whole.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from core_torch.contract.architecture import FullyConnected
from core_torch.contract.errors import ConfigError, check_choice, check_integer
from core_torch.contract.recipe import SOLVERS, Recipe
from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.models.randomized import INITS, random_matrix
from core_torch.objectives.reconstruction import EVALUATION_BATCH, mean_squared_error
from core_torch.training.closed_form import PASSES, RIDGE, normal_equations, presentations
from core_torch.training.loop import History, build_corruption, train


@dataclass(frozen=True)
class LayerReport:
    """A layer of a randomized model as it was before the decoder's transpose became its encoder."""

    pair: Autoencoder  # random encoder, trained decoder; the first layer's takes images
    mse: float  # of the pair on the clean training split, per unit of the layer's input
    condition: float | None = None  # of the ridge solution; None after gradient descent
    residual: float | None = None


def pretrain(
    model: Autoencoder, dataset: ResidentDataset, *, recipe: Recipe | None = None, progress: bool = True
) -> list[History]:
    """Train each layer of a dense model with its mirror, in place, from the first on (Bengio et al. 2007).

    Every layer has the recipe's epochs. When denoising, only images are corrupted: the layers above
    learn from clean activations (Vincent et al. 2010, section 3.3).

    Raises:
        ConfigError: the model is not fully connected, or the data is not finite.
        DivergenceError: the loss of an epoch is not finite.
    """
    depth, recipe = _depth(model), recipe or Recipe()
    _check_finite(dataset)
    model.to(dataset.device)
    histories = []
    for index in range(depth):
        pair, inputs = layer_pair(model, index), layer_inputs(model, index, dataset)
        histories.append(train(pair, inputs, recipe=_recipe_of_layer(recipe, index), progress=progress))
    return histories


def layer_pair(model: Autoencoder, index: int) -> Autoencoder:
    """Encoder layer `index` and its mirror as a shallow autoencoder that holds the model's own modules."""
    pair = Autoencoder(_pair_architecture(model.architecture, index))  # type: ignore[arg-type]
    mirror = 2 * (_depth(model) - 1 - index)  # a layer and its activation are two modules
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


def train_randomized(
    model: Autoencoder,
    dataset: ResidentDataset,
    *,
    recipe: Recipe | None = None,
    solver: str = "ridge",
    init: str = "orthogonal",
    ridge: float | Sequence[float] = RIDGE,
    passes: int = PASSES,
    refit: bool = True,
    progress: bool = True,
) -> list[LayerReport]:
    """Find the weights of a dense model without biases, in place, one layer at a time (Kasun et al. 2013).

    A random encoder matrix is frozen and its decoder W_d trained to restore the layer's input; then W_d^T
    becomes the encoder layer and W_d its mirror, and the next layer sees what the new encoder puts out.

    Args:
        recipe: all of it for gradient descent; for ridge its objective, corruption, contraction and seed.
            The contractive penalty is ||W_d||_F^2, the Jacobian norm of the linear encoder W_d^T.
        solver: `ridge`, closed form, on all images; or `gradient-descent`.
        init: `orthogonal` or `uniform`, of the random matrices.
        ridge: of the closed form, see `NormalEquations.solve`; one number, or one per layer.
        passes: noisy presentations of each image, when denoising in closed form.
        refit: then fit the decoder to the encoder it got, see `refit_decoder`; False leaves W_d.

    Returns:
        A report per layer, which keeps the random encoder and its decoder.

    Raises:
        ConfigError: the model has biases or is not dense, an argument is out of range, the data not finite.
    """
    recipe = recipe or Recipe()
    check_choice("solver", solver, SOLVERS)
    check_choice("init", init, INITS)
    ridges = _check_randomized(model, is_linear=refit or solver == "ridge", ridge=ridge, passes=passes)
    _check_finite(dataset)
    model.to(dataset.device)
    generator, reports = np.random.default_rng(recipe.seed), []
    for index, ridge_of_layer in enumerate(ridges):
        pair = _own_pair(model, index, solver=solver, seed=recipe.seed)
        inputs = layer_inputs(model, index, dataset)
        width_in, width_out = pair.architecture.widths  # type: ignore[union-attr]
        _fill(pair.encoder[0], random_matrix(width_out, width_in, init=init, generator=generator))
        recipe_of_layer, quality = _recipe_of_layer(recipe, index), dict[str, float]()
        if solver == "ridge":
            quality = _solve_pair(pair, inputs, recipe=recipe_of_layer, ridge=ridge_of_layer, passes=passes)
        else:
            _descend_pair(pair, inputs, recipe=recipe_of_layer, progress=progress)
        reports.append(LayerReport(pair, mean_squared_error(pair, inputs), **quality))
        place, found = layer_pair(model, index), pair.decoder[0].get_parameter("weight")
        _fill(place.encoder[0], found.T)
        _fill(place.decoder[0], found)
    if refit:
        refit_decoder(model, dataset, recipe=recipe, ridge=ridges, passes=passes)
    return reports


@torch.no_grad()
def refit_decoder(
    model: Autoencoder,
    dataset: ResidentDataset,
    *,
    recipe: Recipe | None = None,
    ridge: float | Sequence[float] = RIDGE,
    passes: int = PASSES,
) -> None:
    """Solve every decoder weight anew by ridge regression, in place, from the code outwards.

    Each map is fitted from what those before it put out, to the encoder's clean activations at its place,
    the last one to the pixels; under the denoising objective the encoder's input is corrupted.
    Arguments as those of `train_randomized`.

    Raises:
        ConfigError: the model has biases, an output activation or other layers; an argument is out of range.
    """
    recipe = recipe or Recipe()
    ridges = _check_randomized(model, is_linear=True, ridge=ridge, passes=passes)
    model.to(dataset.device)
    for step, ridge_of_layer in enumerate(reversed(ridges)):
        below = len(ridges) - 1 - step  # encoder layers under the activations to restore
        batches = presentations(
            dataset,
            features=nn.Sequential(nn.Flatten(), *model.encoder, *model.decoder[: 2 * step]),
            target=model.encoder[: 2 * below],
            corrupt=build_corruption(recipe, dataset.device),
            passes=passes,
        )
        _fill(model.decoder[2 * step], normal_equations(batches).solve(ridge=ridge_of_layer).weight.T)


@torch.no_grad()
def _solve_pair(
    pair: Autoencoder, inputs: ResidentDataset, *, recipe: Recipe, ridge: float, passes: int
) -> dict[str, float]:
    """Give the pair its decoder in closed form; how well conditioned that was."""
    corrupt = build_corruption(recipe, inputs.device)
    contraction = recipe.contraction if recipe.objective == "contractive" else 0.0
    batches = presentations(
        inputs, features=pair.encode, target=nn.Identity(), corrupt=corrupt, passes=passes
    )
    solution = normal_equations(batches).solve(ridge=ridge, contraction=contraction)
    _fill(pair.decoder[0], solution.weight.T)
    return {"condition": solution.condition, "residual": solution.residual}


def _descend_pair(pair: Autoencoder, inputs: ResidentDataset, *, recipe: Recipe, progress: bool) -> None:
    """Train the pair's decoder by gradient descent. The penalty is on W_d, for W_d^T will be the encoder."""
    penalised = pair.decoder[0].get_parameter("weight")

    def contractive(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(output, target) + recipe.contraction * penalised.square().sum()

    criterion = contractive if recipe.objective == "contractive" else F.mse_loss
    pair.encoder.requires_grad_(False)
    train(pair, inputs, recipe=recipe, criterion=criterion, progress=progress)


def _own_pair(model: Autoencoder, index: int, *, solver: str, seed: int) -> Autoencoder:
    """A pair with weights of its own; what ridge regression finds is followed by no activation."""
    architecture = _pair_architecture(model.architecture, index)  # type: ignore[arg-type]
    if solver == "ridge":
        architecture = replace(architecture, output_activation="linear")
    return build_autoencoder(architecture, seed=seed).to(next(model.parameters()).device)


def _pair_architecture(whole: FullyConnected, index: int) -> FullyConnected:
    """Layer `index` and its mirror, with the activations that they have in the whole."""
    return replace(
        whole,
        widths=whole.widths[index : index + 2],
        code_activation=whole.code_activation if index == len(whole.widths) - 2 else whole.hidden_activation,
        output_activation=whole.output_activation if index == 0 else whole.hidden_activation,
    )


def _recipe_of_layer(recipe: Recipe, index: int) -> Recipe:
    """Only images are corrupted: above the first layer denoising is standard training."""
    return recipe.with_changes(objective="standard") if index and recipe.objective == "denoising" else recipe


@torch.no_grad()
def _fill(linear: nn.Module, weight: torch.Tensor | np.ndarray) -> None:
    """Copy into a layer's own memory, which stays contiguous and its own."""
    linear.get_parameter("weight").copy_(torch.as_tensor(weight))


def _depth(model: Autoencoder) -> int:
    """Number of dense layers of the encoder; `ConfigError` unless it has no others."""
    if not isinstance(model.architecture, FullyConnected):
        found = type(model.architecture).__name__
        raise ConfigError(f"model: found {found}, allowed layer by layer: FullyConnected")
    return len(model.architecture.widths) - 1


def _check_randomized(
    model: Autoencoder, *, is_linear: bool, ridge: float | Sequence[float], passes: int
) -> tuple[float, ...]:
    """Refuse what cannot be trained so; one ridge per layer."""
    depth = _depth(model)
    check_integer("passes", passes, minimum=1)
    architecture = model.architecture
    if architecture.bias or architecture.tied:  # type: ignore[union-attr]
        raise ConfigError("model: found biases or tied weights, allowed: a randomized model, with neither")
    if is_linear and architecture.output_activation != "linear":
        found = architecture.output_activation
        raise ConfigError(f"output_activation: found {found}, allowed for ridge and for a refit: linear")
    ridges = tuple(ridge) if isinstance(ridge, Sequence) else (ridge,) * depth
    if len(ridges) != depth:
        raise ConfigError(f"ridge: found {len(ridges)} values, allowed: 1, or one for each of {depth} layers")
    return ridges


def _check_finite(dataset: ResidentDataset) -> None:
    if not (dataset.data.isfinite().all() and dataset.targets.isfinite().all()):
        raise ConfigError("data: holds a value that is not finite, allowed: finite numbers")
