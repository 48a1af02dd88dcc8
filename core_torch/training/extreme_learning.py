"""The multilayer extreme learning machine: a classifier without a gradient.

Kasun et al. 2013: stacked randomized autoencoders give a code, one wide random layer features of it, and
ridge regression on one-hot labels the scores. Theirs is 784-700-700-15000-10.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from core_torch.contract.errors import check_integer
from core_torch.contract.pixels import CLASSES
from core_torch.contract.recipe import Recipe
from core_torch.data.resident import Batch, ResidentDataset
from core_torch.models.randomized import RandomizedAutoencoder
from core_torch.training.closed_form import FEATURE_BATCH, RIDGE, normal_equations
from core_torch.training.randomized import train_randomized


@torch.no_grad()
def train_extreme_learning(
    dataset: ResidentDataset,
    *,
    widths: Sequence[int] = (784, 700, 700),
    features: int = 6000,
    ridges: Sequence[float] = (RIDGE, RIDGE, RIDGE),
    seed: int = 0,
) -> nn.Sequential:
    """Images (N, 1, 28, 28) -> scores (N, 10), the largest of which names the class.

    Args:
        widths: of the autoencoders, input first.
        features: ReLU units of the random layer. Memory is about 4 * 8 * features^2 bytes: 7 GB for 15,000.
        ridges: one per autoencoder layer, and one for the scores; see `NormalEquations.solve`.
        seed: of all random weights.

    Raises:
        ConfigError: an argument is out of range.
    """
    check_integer("features", features, minimum=1)
    autoencoder = RandomizedAutoencoder(widths)
    recipe = Recipe(seed=seed)
    train_randomized(autoencoder, dataset, recipe=recipe, ridge=ridges[:-1], refit=False)
    encoder = nn.Sequential(nn.Flatten(), autoencoder.encoder)
    generator = torch.Generator().manual_seed(seed)
    random = _random_layer(_codes(encoder, dataset), features, generator)
    hidden = nn.Sequential(encoder, random, nn.ReLU())
    scores = nn.Linear(features, CLASSES, bias=False, device=dataset.device)
    scores.weight.copy_(normal_equations(_labelled(hidden, dataset)).solve(ridge=ridges[-1]).weight.T)
    return nn.Sequential(hidden, scores)


def _codes(encoder: nn.Module, dataset: ResidentDataset) -> torch.Tensor:
    """(N, code width)."""
    return torch.cat([encoder(x) for x, _ in dataset.batches(FEATURE_BATCH, shuffle=False)])


def _random_layer(codes: torch.Tensor, features: int, generator: torch.Generator) -> nn.Linear:
    """Gaussian weights of centred codes scaled to length 1 on average, and biases as large.

    Weights and inputs then matter as much as biases, whatever the scale of the codes.
    """
    centre = codes.mean(0)
    length = (codes - centre).square().sum(1).mean().sqrt()
    layer = nn.Linear(codes.shape[1], features, device=codes.device)
    layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / length.cpu())
    layer.bias.copy_(torch.randn(features, generator=generator)).sub_(layer.weight @ centre)
    return layer


def _labelled(hidden: nn.Module, dataset: ResidentDataset) -> Iterator[Batch]:
    """(features float32, one-hot labels) of all images."""
    for start in range(0, len(dataset), FEATURE_BATCH):
        images, labels = dataset[start : start + FEATURE_BATCH]
        yield hidden(images), F.one_hot(labels, CLASSES).float()  # type: ignore[arg-type]


@torch.no_grad()
def accuracy(classifier: nn.Module, dataset: ResidentDataset) -> float:
    """Share of images whose largest score is their label's."""
    right = 0
    for start in range(0, len(dataset), FEATURE_BATCH):
        images, labels = dataset[start : start + FEATURE_BATCH]
        right += int((classifier(images).argmax(1) == labels).sum())
    return right / len(dataset)
