"""Extreme learning machines: classifiers without a gradient, ridge regression on one-hot labels from random features.

Kasun et al. 2013 take the features from the code of stacked randomized autoencoders; theirs is
784-700-700-15000-10. McDonnell et al. 2015 take them from patches of the images.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from core_torch.data.resident import Batch, ResidentDataset
from core_torch.files.splits import CLASSES
from core_torch.models.randomized import RandomizedAutoencoder
from core_torch.spec.architecture import IMAGE_SIDE
from core_torch.spec.errors import ConfigError, check_integer
from core_torch.spec.recipe import LARGEST_SEED, Recipe
from core_torch.training.layer_by_layer.randomized import train_randomized
from core_torch.training.layer_by_layer.ridge import FEATURE_BATCH, RIDGE, normal_equations

SCORES_RIDGE = 1e-4  # features are multiplied in float32, whose rounding a much smaller one would not cover
PATCH_SIDES = (7, 20)  # pixels; the second is excluded
SPREAD_IMAGES = 5000  # images that tell the spread of a unit's sums
SMALLEST_SPREAD = 1e-3  # spread that is divided by; that of a patch which is black in nearly all images is less
BIAS = 0.5  # standard deviation, of sums whose own is 1


@torch.no_grad()
def train_extreme_learning(
    dataset: ResidentDataset,
    *,
    widths: Sequence[int] = (784, 700, 700),
    features: int = 6000,
    ridges: Sequence[float] = (RIDGE, RIDGE, SCORES_RIDGE),
    seed: int = 0,
) -> nn.Sequential:
    """Train a classifier of images (N, 1, 28, 28) -> scores (N, 10); the largest score names the class.

    Args:
        widths: of the autoencoders, input first.
        features: GELU units of the random layer. Memory is about 4 * 8 * features^2 bytes: 7 GB for 15,000.
        ridges: one per autoencoder layer, and one for the scores; see `NormalEquations.solve`.
        seed: of all random weights.

    Raises:
        ConfigError: an argument is out of range.
    """
    _check(features=features, seed=seed)
    if not isinstance(ridges, Sequence) or len(ridges) != len(widths):
        raise ConfigError(f"ridges: found {ridges!r}, allowed: {len(widths)}, one per layer and one for the scores")
    autoencoder = RandomizedAutoencoder(widths)
    recipe = Recipe(seed=seed)
    train_randomized(autoencoder, dataset, recipe=recipe, ridge=ridges[:-1], refit=False)
    encoder = nn.Sequential(nn.Flatten(), autoencoder.encoder)
    generator = torch.Generator().manual_seed(seed)
    random = _random_layer(_codes(encoder, dataset), features, generator)
    return _with_scores(nn.Sequential(encoder, random, nn.GELU()), dataset, ridge=ridges[-1])


@torch.no_grad()
def train_receptive_fields(
    dataset: ResidentDataset, *, features: int = 6000, ridge: float = SCORES_RIDGE, seed: int = 0
) -> nn.Sequential:
    """Train a classifier of images (N, 1, 28, 28) -> scores (N, 10), from GELU units that each see a patch.

    McDonnell, Tissera, Vladusich, van Schaik, Tapson, PLoS ONE 10(8), 2015: weights are differences of two images
    (theirs of unlike digits) within a random rectangle. Arguments and errors are those of `train_extreme_learning`.
    """
    _check(features=features, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    random = _patch_layer(_codes(nn.Flatten(), dataset), features, generator)
    return _with_scores(nn.Sequential(nn.Flatten(), random, nn.GELU()), dataset, ridge=ridge)


def _check(*, features: int, seed: int) -> None:
    check_integer("features", features, minimum=1)
    check_integer("seed", seed, minimum=0, maximum=LARGEST_SEED)


def _with_scores(hidden: nn.Sequential, dataset: ResidentDataset, *, ridge: float) -> nn.Sequential:
    weight = normal_equations(_labelled_features(hidden, dataset)).solve(ridge=ridge).weight  # (features, 10)
    scores = nn.Linear(len(weight), CLASSES, bias=False, device=dataset.device)
    scores.weight.copy_(weight.T)
    return nn.Sequential(hidden, scores)


def _codes(encoder: nn.Module, dataset: ResidentDataset) -> torch.Tensor:
    """Encode all images, (N, code width)."""
    return torch.cat([encoder(x) for x, _ in dataset.batches(FEATURE_BATCH, shuffle=False)])


def _random_layer(codes: torch.Tensor, features: int, generator: torch.Generator) -> nn.Linear:
    """Draw Gaussian weights of centred codes scaled to a root mean square length of 1, and biases as large.

    Weights and inputs then matter as much as biases, whatever the scale of the codes.
    """
    centre = codes.mean(0)
    length = (codes - centre).square().sum(1).mean().sqrt()
    layer = nn.Linear(codes.shape[1], features, device=codes.device)
    layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / length.cpu())
    layer.bias.copy_(torch.randn(features, generator=generator)).sub_(layer.weight @ centre)
    return layer


def _patch_layer(pixels: torch.Tensor, features: int, generator: torch.Generator) -> nn.Linear:
    """Draw differences of two images within a rectangle, scaled to centred sums of variance 1, and smaller biases.

    A unit whose images are equal there is constant.
    """
    first, second = pixels[torch.randint(len(pixels), (2, features), generator=generator)]
    weight = (first - second) * _rectangles(features, generator).to(pixels)
    sums = pixels[:SPREAD_IMAGES] @ weight.T
    scale = sums.std(0).clamp_min(SMALLEST_SPREAD)
    layer = nn.Linear(pixels.shape[1], features, device=pixels.device)
    layer.weight.copy_(weight / scale[:, None])
    layer.bias.copy_(BIAS * torch.randn(features, generator=generator)).sub_(sums.mean(0) / scale)
    return layer


def _rectangles(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw masks (count, 784), 1 within a rectangle of random sides and place."""
    size = torch.randint(*PATCH_SIDES, (2, count, 1), generator=generator)
    start = (torch.rand(2, count, 1, generator=generator) * (IMAGE_SIDE + 1 - size)).long()
    line = torch.arange(IMAGE_SIDE)
    rows, columns = ((start <= line) & (line < start + size)).float()  # (count, 28) each
    return torch.einsum("nr,nc->nrc", rows, columns).flatten(1)


def _labelled_features(hidden: nn.Module, dataset: ResidentDataset) -> Iterator[Batch]:
    """Yield (features float32, one-hot labels) of all images."""
    for start in range(0, len(dataset), FEATURE_BATCH):
        part = slice(start, start + FEATURE_BATCH)
        yield hidden(dataset[part][0]), F.one_hot(dataset.labels[part], CLASSES).float()


@torch.no_grad()
def accuracy(classifier: nn.Module, dataset: ResidentDataset) -> float:
    """Compute the share of images whose largest score is their label's."""
    right = 0
    for start in range(0, len(dataset), FEATURE_BATCH):
        images, labels = dataset[start : start + FEATURE_BATCH]
        right += int((classifier(images).argmax(1) == labels).sum())
    return right / len(dataset)
