"""Training the randomized models: random encoders frozen, decoders found, transposes taken."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.models.randomized import INITS, random_matrix
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.spec.errors import ConfigError, check_choice, check_integer
from core_torch.spec.recipe import SOLVERS, Recipe
from core_torch.training.closed_form import PASSES, RIDGE, feature_batches, normal_equations
from core_torch.training.layerwise import (
    check_data,
    depth_of,
    layer_inputs,
    layer_pair,
    pair_architecture,
    recipe_of_layer,
)
from core_torch.training.loop import Criterion, build_corruption, train


@dataclass(frozen=True)
class LayerReport:
    """A layer of a randomized model as it was before the decoder's transpose became its encoder."""

    pair: Autoencoder  # random encoder, trained decoder; the first layer's takes images
    mse: float  # of the pair on the clean training split, per unit of the layer's input
    condition: float | None = None  # of the ridge solution; None after gradient descent
    residual: float | None = None


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
        ConfigError: the model has biases or is not dense, an argument is out of range, the data not finite, or
            streamed for two layers or more.
    """
    recipe = recipe or Recipe()
    check_choice("solver", solver, SOLVERS)
    check_choice("init", init, INITS)
    ridges = check_randomized(model, is_linear=refit or solver == "ridge", ridge=ridge, passes=passes)
    check_data(dataset, depth=len(ridges))
    model.to(dataset.device)
    generator, reports = np.random.default_rng(recipe.seed), []
    for index, ridge_of_layer in enumerate(ridges):
        pair = own_pair(model, index, solver=solver, seed=recipe.seed)
        inputs = layer_inputs(model, index, dataset)
        width_in, width_out = pair.architecture.widths  # type: ignore[union-attr]
        fill(pair.encoder[0], random_matrix(width_out, width_in, init=init, generator=generator))
        own_recipe, quality = recipe_of_layer(recipe, index), dict[str, float]()
        if solver == "ridge":
            quality = _solve_pair(pair, inputs, recipe=own_recipe, ridge=ridge_of_layer, passes=passes)
        else:
            pair.encoder.requires_grad_(False)
            train(pair, inputs, recipe=own_recipe, criterion=pair_criterion(pair, own_recipe), progress=progress)
        reports.append(LayerReport(pair, mean_squared_error(pair, inputs), **quality))
        place, found = layer_pair(model, index), pair.decoder[0].get_parameter("weight")
        fill(place.encoder[0], found.T)
        fill(place.decoder[0], found)
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
    ridges = check_randomized(model, is_linear=True, ridge=ridge, passes=passes)
    model.to(dataset.device)
    for step, ridge_of_layer in enumerate(reversed(ridges)):
        below = len(ridges) - 1 - step  # encoder layers under the activations to restore
        batches = feature_batches(
            dataset,
            features=nn.Sequential(nn.Flatten(), *model.encoder, *model.decoder[: 2 * step]),
            target=model.encoder[: 2 * below],
            corrupt=build_corruption(recipe, dataset.device),
            passes=passes,
        )
        fill(model.decoder[2 * step], normal_equations(batches).solve(ridge=ridge_of_layer).weight.T)


@torch.no_grad()
def _solve_pair(
    pair: Autoencoder, inputs: ResidentDataset, *, recipe: Recipe, ridge: float, passes: int
) -> dict[str, float]:
    """Give the pair its decoder in closed form; how well conditioned that was."""
    corrupt = build_corruption(recipe, inputs.device)
    contraction = recipe.contraction if recipe.objective == "contractive" else 0.0
    batches = feature_batches(inputs, features=pair.encode, target=nn.Identity(), corrupt=corrupt, passes=passes)
    solution = normal_equations(batches).solve(ridge=ridge, contraction=contraction)
    fill(pair.decoder[0], solution.weight.T)
    return {"condition": solution.condition, "residual": solution.residual}


def pair_criterion(pair: Autoencoder, recipe: Recipe) -> Criterion:
    """Mean squared error; the contractive penalty is on W_d, for W_d^T will be the encoder."""
    penalised = pair.decoder[0].get_parameter("weight")

    def contractive(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(output, target) + recipe.contraction * penalised.square().sum()

    return contractive if recipe.objective == "contractive" else F.mse_loss


def own_pair(model: Autoencoder, index: int, *, solver: str, seed: int) -> Autoencoder:
    """A pair with weights of its own; what ridge regression finds is followed by no activation."""
    architecture = pair_architecture(model.architecture, index)  # type: ignore[arg-type]
    if solver == "ridge":
        architecture = replace(architecture, output_activation="linear")
    return build_autoencoder(architecture, seed=seed).to(next(model.parameters()).device)


@torch.no_grad()
def fill(linear: nn.Module, weight: torch.Tensor | np.ndarray) -> None:
    """Copy into a layer's own memory, which stays contiguous and its own."""
    linear.get_parameter("weight").copy_(torch.as_tensor(weight))


def check_randomized(
    model: Autoencoder, *, is_linear: bool, ridge: float | Sequence[float], passes: int
) -> tuple[float, ...]:
    """Refuse what cannot be trained so; one ridge per layer."""
    depth = depth_of(model)
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
