"""How much an encoder contracts: its Jacobian J = dh/dx, averaged over images."""

import torch

from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import Autoencoder
from core_torch.objectives.jacobian import encoder_jacobian, jacobian_norm_squared
from core_torch.objectives.reconstruction import EVALUATION_BATCH

JACOBIAN_IMAGES = 100  # images over which an exact Jacobian is averaged
JACOBIAN_BATCH = 10  # images; an exact convolutional Jacobian is large


@torch.no_grad()
def mean_jacobian_norm_squared(model: Autoencoder, dataset: ResidentDataset) -> float:
    """E ||J||_F^2 over the first `JACOBIAN_IMAGES` images, exactly."""
    norms = [jacobian_norm_squared(model, part) for part in _first_images(dataset)]
    return float(torch.cat(norms).mean())


@torch.no_grad()
def contraction(model: Autoencoder, dataset: ResidentDataset) -> dict[str, float | None]:
    """`jacobian_norm_squared`, E ||J||_F^2, and `jacobian_scale_free`, E ||J||_F^2 / tr Cov(h), per squared pixel unit.

    Dividing the code by c divides both terms by c^2, so an untied model cannot lower the ratio, as it can the
    norm, by shrinking its encoder and letting its decoder make up for it. Cov(h) is over the whole dataset;
    there is no ratio if the code does not vary there.
    """
    batches = dataset.batches(EVALUATION_BATCH, shuffle=False)
    codes = torch.cat([model.encode(images) for images, _ in batches]).double()
    variance, norm = float(codes.var(dim=0, correction=0).sum()), mean_jacobian_norm_squared(model, dataset)
    return {"jacobian_norm_squared": norm, "jacobian_scale_free": norm / variance if variance else None}


@torch.no_grad()
def mean_singular_values(model: Autoencoder, dataset: ResidentDataset) -> torch.Tensor:
    """(min(code width, pixels),) singular values of J, largest first, each averaged over the first images.

    A contractive encoder keeps few directions: its spectrum falls steeply (Rifai et al., ICML 2011).
    """
    spectra = [torch.linalg.svdvals(encoder_jacobian(model, part)) for part in _first_images(dataset)]
    return torch.cat(spectra).mean(dim=0)


def _first_images(dataset: ResidentDataset) -> tuple[torch.Tensor, ...]:
    return dataset[: min(JACOBIAN_IMAGES, len(dataset))][0].split(JACOBIAN_BATCH)
