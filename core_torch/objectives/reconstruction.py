"""The squared error of a reconstruction: a sum and a count, divided once."""

import torch

from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import Autoencoder
from core_torch.models.evaluating import evaluating

EVALUATION_BATCH = 1000  # images; bounds the memory of a convolutional model's activations


def squared_error(model: Autoencoder, dataset: ResidentDataset) -> tuple[float, int]:
    """Sum squared errors over images and pixels; (sum, number of pixels). The model's mode is restored."""
    total = torch.zeros((), dtype=torch.float64, device=dataset.device)
    count = 0
    with evaluating(model):
        for inputs, targets in dataset.batches(EVALUATION_BATCH, shuffle=False):
            total += (model(inputs) - targets).square().sum(dtype=torch.float64)
            count += targets.numel()
    return float(total), count


def mean_squared_error(model: Autoencoder, dataset: ResidentDataset) -> float:
    """Compute the squared error per pixel."""
    total, count = squared_error(model, dataset)
    return total / count
