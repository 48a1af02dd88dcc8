"""Walks through what a model has learnt: between the codes of images, and along its own output.

Images are rows (N, pixels); what is fed back is cut to [0, 1], the range of an image.
"""

import numpy as np
import torch

from core_torch.models.autoencoder import Autoencoder
from core_torch.models.evaluating import evaluating
from core_torch.spec.errors import check_integer


def interpolate_codes(model: Autoencoder, images: torch.Tensor, *, steps: int) -> torch.Tensor:
    """Decode points of the straight lines from each image's code to the next one's.

    Returns:
        (images - 1, steps, pixels); a line starts and ends at the reconstructions of its two images.

    Raises:
        ConfigError: fewer than two images, or steps.
    """
    check_integer("images", len(images), minimum=2)
    check_integer("steps", steps, minimum=2)
    with evaluating(model):
        codes = model.encode(images)
        share = torch.linspace(0, 1, steps, device=codes.device)[:, None]
        lines = torch.stack([torch.lerp(here, there, share) for here, there in zip(codes, codes[1:])])
        images = model.decode(lines.flatten(0, 1))
        return images.reshape(*lines.shape[:2], *images.shape[1:])


def iterate_reconstruction(model: Autoencoder, start: torch.Tensor, *, steps: int) -> torch.Tensor:
    """Feed the output back `steps` times, from `start` (N, pixels) on: (steps + 1, N, pixels), `start` first.

    An autoencoder draws its input towards the manifold of its training images (Alain and Bengio, JMLR 15,
    2014); repeated, that ends near a fixed point.

    Raises:
        ConfigError: no steps.
    """
    check_integer("steps", steps, minimum=1)
    images = [start]
    with evaluating(model):
        for _ in range(steps):
            images.append(model(images[-1]).clamp(0, 1))
    return torch.stack(images)


def uniform_noise(count: int, pixels: int, *, seed: int) -> torch.Tensor:
    """Draw (count, pixels) float32, uniform in [0, 1); the same on every device."""
    return torch.from_numpy(np.random.default_rng(seed).random((count, pixels), dtype=np.float32))
