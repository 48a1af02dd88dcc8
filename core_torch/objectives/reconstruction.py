"""The squared error of a reconstruction: a sum and a count, divided once."""

import torch

from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import Autoencoder

EVALUATION_BATCH = 1000  # images; bounds the memory of a convolutional model's activations


@torch.no_grad()
def squared_error(model: Autoencoder, dataset: ResidentDataset) -> tuple[float, int]:
    """(sum of squared errors over images and pixels, number of pixels); the model's mode is restored."""
    was_training = model.training
    model.eval()
    total = torch.zeros((), dtype=torch.float64, device=dataset.device)
    count = 0
    for inputs, targets in dataset.batches(EVALUATION_BATCH, shuffle=False):
        total += (model(inputs) - targets).square().sum(dtype=torch.float64)
        count += targets.numel()
    model.train(was_training)
    return float(total), count


def mean_squared_error(model: Autoencoder, dataset: ResidentDataset) -> float:
    """Squared error per pixel."""
    total, count = squared_error(model, dataset)
    return total / count
