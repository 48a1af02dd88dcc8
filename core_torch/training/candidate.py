"""The reference as a candidate, so that it is held against the oracle as every port is."""

import torch

from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.objectives.contractive import ContractiveLoss
from core_torch.parity.adapters.torch import TorchCandidate
from core_torch.spec.architecture import Architecture
from core_torch.spec.recipe import Recipe
from core_torch.training.loop import Criterion, build_criterion, build_optimizer


def build_candidate(
    architecture: Architecture, recipe: Recipe, *, dtype: str = "float32"
) -> TorchCandidate[Autoencoder]:
    """Build the model at the recipe's seed, with the recipe's loss and optimizer, in float32 or float64 on the CPU."""
    pin_precision()
    model = build_autoencoder(architecture, seed=recipe.seed).to(getattr(torch, dtype))
    criterion = exact(build_criterion(model, recipe))
    return TorchCandidate(model, criterion, lambda model: build_optimizer(model, recipe))


def exact(criterion: Criterion) -> Criterion:
    """Replace a contractive loss's random estimator, which no two frameworks draw alike, by the exact norm."""
    if isinstance(criterion, ContractiveLoss):
        criterion.estimator = "exact"
    return criterion


def pin_precision() -> None:
    """Switch off TF32, which cuDNN's convolutions use by default."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
