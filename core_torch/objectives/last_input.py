"""LastInput: what a model was last fed, for criteria that are called with output and target only."""

import weakref
from functools import partial
from typing import Any

import torch

from core_torch.models.autoencoder import Autoencoder
from core_torch.spec.errors import ConfigError


class LastInput:
    """Watches a model's forward passes for as long as it lives."""

    def __init__(self, model: Autoencoder) -> None:
        self.images: torch.Tensor | None = None
        # The hook must not keep its owner alive, and goes when the owner goes.
        hook = model.register_forward_pre_hook(partial(_remember, weakref.ref(self)))
        weakref.finalize(self, hook.remove)

    def matching(self, output: torch.Tensor) -> torch.Tensor:
        """Return the images (N, ...) that `output` (N, pixels) was made from; `ConfigError` if there are none."""
        if self.images is None or len(self.images) != len(output):
            raise ConfigError("criterion: call the model first, then the criterion on its output")
        return self.images


def _remember(owner: "weakref.ref[LastInput]", module: Any, arguments: tuple[torch.Tensor, ...]) -> None:
    if (alive := owner()) is not None:
        alive.images = arguments[0]
