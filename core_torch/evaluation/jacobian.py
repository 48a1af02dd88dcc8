"""How much an encoder contracts: its Jacobian J = dh/dx, averaged over images."""

import torch

from core_torch.data.resident import ResidentDataset
from core_torch.files.metrics import JACOBIAN_IMAGES
from core_torch.models.autoencoder import Autoencoder
from core_torch.objectives.jacobian import encoder_jacobian, jacobian_norm_squared
from core_torch.objectives.reconstruction import EVALUATION_BATCH

JACOBIAN_BATCH = 10  # images; an exact convolutional Jacobian is large


@torch.no_grad()
def mean_jacobian_norm_squared(model: Autoencoder, dataset: ResidentDataset) -> float:
    """Compute E ||J||_F^2 over the first `JACOBIAN_IMAGES` images, exactly."""
    norms = [jacobian_norm_squared(model, part) for part in _first_images(dataset)]
    return float(torch.cat(norms).mean())


@torch.no_grad()
def code_variance(model: Autoencoder, dataset: ResidentDataset) -> float:
    """Compute tr Cov(h) over the whole dataset."""
    batches = dataset.batches(EVALUATION_BATCH, shuffle=False)
    codes = torch.cat([model.encode(images) for images, _ in batches]).double()
    return float(codes.var(dim=0, correction=0).sum())


@torch.no_grad()
def mean_singular_values(model: Autoencoder, dataset: ResidentDataset) -> torch.Tensor:
    """Average the singular values of J, largest first, over the first images: (min(code width, pixels),).

    A contractive encoder keeps few directions: its spectrum falls steeply (Rifai et al., ICML 2011).
    """
    spectra = [torch.linalg.svdvals(encoder_jacobian(model, part)) for part in _first_images(dataset)]
    return torch.cat(spectra).mean(dim=0)


def _first_images(dataset: ResidentDataset) -> tuple[torch.Tensor, ...]:
    return torch.split(dataset[: min(JACOBIAN_IMAGES, len(dataset))][0], JACOBIAN_BATCH)
