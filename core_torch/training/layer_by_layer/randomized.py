"""The randomized models: random encoders are frozen, decoders found, transposes taken, decoders refitted."""

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
from core_torch.training.layer_by_layer.pairs import (
    check_data,
    dense_architecture,
    layer_inputs,
    layer_pair,
    layer_recipe,
    pair_architecture,
)
from core_torch.training.layer_by_layer.ridge import (
    PASSES,
    RIDGE,
    Map,
    RidgeSolution,
    feature_batches,
    normal_equations,
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

    A random encoder matrix is frozen and its decoder W_d trained to restore the layer's input. Then W_d^T becomes
    the encoder layer and W_d its mirror. The next layer sees what the new encoder puts out.

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
    reports = []
    for index, pair in enumerate(draw_pairs(model, solver=solver, init=init, seed=recipe.seed)):
        inputs, own_recipe = layer_inputs(model, index, dataset), layer_recipe(recipe, index)
        quality: dict[str, float] = {}
        if solver == "ridge":
            solution = solve_pair(pair, inputs, recipe=own_recipe, ridge=ridges[index], passes=passes)
            quality = {"condition": solution.condition, "residual": solution.residual}
        else:
            train(pair, inputs, recipe=own_recipe, criterion=pair_criterion(pair, own_recipe), progress=progress)
        reports.append(LayerReport(pair, mean_squared_error(pair, inputs), **quality))
        place_layer(model, index, decoder_weight(pair))
    if refit:
        refit_decoder(model, dataset, recipe=recipe, ridge=ridges, passes=passes)
    return reports


def check_randomized(
    model: Autoencoder, *, is_linear: bool, ridge: float | Sequence[float], passes: int
) -> tuple[float, ...]:
    """Refuse what cannot be trained so, and return one ridge per layer."""
    architecture = dense_architecture(model)
    check_integer("passes", passes, minimum=1)
    if architecture.bias or architecture.tied:
        raise ConfigError("model: found biases or tied weights, allowed: a randomized model, with neither")
    if is_linear and architecture.output_activation != "linear":
        found = architecture.output_activation
        raise ConfigError(f"output_activation: found {found}, allowed for ridge and for a refit: linear")
    depth = architecture.depth
    ridges = tuple(ridge) if isinstance(ridge, Sequence) else (ridge,) * depth
    if len(ridges) != depth:
        raise ConfigError(f"ridge: found {len(ridges)} values, allowed: 1, or one for each of {depth} layers")
    return ridges


def draw_pairs(model: Autoencoder, *, solver: str, seed: int, init: str = INITS[0]) -> list[Autoencoder]:
    """Build a pair per layer with weights of its own and a random, frozen encoder."""
    pairs, generator = [], np.random.default_rng(seed)
    for index in range(dense_architecture(model).depth):
        architecture = pair_architecture(model, index)
        if solver == "ridge":  # what ridge regression finds is followed by no activation
            architecture = replace(architecture, output_activation="linear")
        pair = build_autoencoder(architecture, seed=seed).to(next(model.parameters()).device)
        inputs, outputs = architecture.widths
        fill(pair.encoder[0], random_matrix(outputs, inputs, init=init, generator=generator))
        pair.encoder.requires_grad_(False)
        pairs.append(pair)
    return pairs


@torch.no_grad()
def solve_pair(
    pair: Autoencoder, inputs: ResidentDataset, *, recipe: Recipe, ridge: float, passes: int
) -> RidgeSolution:
    """Give the pair its decoder in closed form."""
    corrupt = build_corruption(recipe, inputs.device)
    contraction = recipe.contraction if recipe.objective == "contractive" else 0.0
    batches = feature_batches(inputs, features=pair.encode, target=nn.Identity(), corrupt=corrupt, passes=passes)
    solution = normal_equations(batches).solve(ridge=ridge, contraction=contraction)
    fill(pair.decoder[0], solution.weight.T)
    return solution


def pair_criterion(pair: Autoencoder, recipe: Recipe) -> Criterion:
    """Return the mean squared error; the contractive penalty is on W_d, because W_d^T will be the encoder."""
    penalised = pair.decoder[0].get_parameter("weight")

    def contractive(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(output, target) + recipe.contraction * penalised.square().sum()

    return contractive if recipe.objective == "contractive" else F.mse_loss


def decoder_weight(pair: Autoencoder) -> torch.Tensor:
    """Return W_d of a pair, (inputs, outputs of the layer)."""
    return pair.decoder[0].get_parameter("weight").detach()


def place_layer(model: Autoencoder, index: int, weight: torch.Tensor) -> None:
    """Copy W_d into the mirror of encoder layer `index`, and W_d^T into the layer."""
    place = layer_pair(model, index)
    fill(place.encoder[0], weight.T)
    fill(place.decoder[0], weight)


@torch.no_grad()
def refit_decoder(
    model: Autoencoder,
    dataset: ResidentDataset,
    *,
    recipe: Recipe | None = None,
    ridge: float | Sequence[float] = RIDGE,
    passes: int = PASSES,
) -> None:
    """Solve for every decoder weight again by ridge regression, in place, from the code outwards.

    Each map is fitted from what those before it put out, to the encoder's clean activations at its place, the last
    one to the pixels. Under the denoising objective the encoder's input is corrupted.
    Arguments as those of `train_randomized`.

    Raises:
        ConfigError: the model has biases, an output activation or other layers; an argument is out of range.
    """
    recipe = recipe or Recipe()
    ridges = check_randomized(model, is_linear=True, ridge=ridge, passes=passes)
    model.to(dataset.device)
    for step, ridge_of_layer in enumerate(reversed(ridges)):
        features, target = refit_maps(model, step)
        corrupt = build_corruption(recipe, dataset.device)
        batches = feature_batches(dataset, features=features, target=target, corrupt=corrupt, passes=passes)
        fill(model.decoder[2 * step], normal_equations(batches).solve(ridge=ridge_of_layer).weight.T)


def refit_maps(model: Autoencoder, step: int) -> tuple[Map, Map]:
    """Return (images -> what decoder layer `step` sees, clean pixels -> what it should restore)."""
    below = dense_architecture(model).depth - 1 - step  # encoder layers under the activations to restore
    features = nn.Sequential(nn.Flatten(), *model.encoder, *model.decoder[: 2 * step])
    return features, model.encoder[: 2 * below]


@torch.no_grad()
def fill(linear: nn.Module, weight: torch.Tensor | np.ndarray) -> None:
    """Copy into a layer's own memory, which stays contiguous and its own."""
    linear.get_parameter("weight").copy_(torch.as_tensor(weight))
