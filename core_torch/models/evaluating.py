"""Looking at a model without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core_torch.models.autoencoder import Autoencoder


@contextmanager
def evaluating(model: Autoencoder) -> Iterator[None]:
    """Evaluation mode and no gradients inside; afterwards each module is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
