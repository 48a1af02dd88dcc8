"""The figures that every trained model is reported with."""

import torch

from core_torch.contract.pixels import Split, to_unit_range
from core_torch.data.resident import ResidentDataset
from core_torch.evaluation.baselines import constant_predictors, is_dead
from core_torch.models.autoencoder import Autoencoder
from core_torch.objectives.jacobian import jacobian_norm_squared
from core_torch.objectives.reconstruction import squared_error

JACOBIAN_IMAGES = 100  # test images over which the exact Jacobian norm is averaged
JACOBIAN_BATCH = 10  # images; an exact convolutional Jacobian is large


def measure(model: Autoencoder, train: Split, test: Split, *, device: torch.device) -> dict[str, object]:
    """{name: value}: test error per pixel (MSE) and per image (SSE), baselines, the encoder's contraction."""
    dataset = ResidentDataset(test, device=device)
    model.to(device).eval()
    total, count = squared_error(model, dataset)
    constants = constant_predictors(*(to_unit_range(part.images).reshape(len(part), -1) for part in (train, test)))
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "test_mse": total / count,
        "test_sse": total / len(dataset),
        "test_mse_of_mean": constants["per-pixel mean"],
        "dead": is_dead(total / count, constants),
        "jacobian_norm_squared": mean_jacobian_norm_squared(model, dataset),
    }


@torch.no_grad()
def mean_jacobian_norm_squared(model: Autoencoder, dataset: ResidentDataset) -> float:
    """E ||J||_F^2 of the encoder over the first `JACOBIAN_IMAGES` images, exactly."""
    images = dataset[: min(JACOBIAN_IMAGES, len(dataset))][0]
    norms = [jacobian_norm_squared(model, part) for part in images.split(JACOBIAN_BATCH)]
    return float(torch.cat(norms).mean())
