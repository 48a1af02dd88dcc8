"""Autoencoder: an encoder and a decoder, built from an architecture's layer lists."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from core_torch.models.layers import TiedLinear, to_module
from core_torch.spec.architecture import Architecture, FullyConnected, parameter_shapes
from core_torch.spec.errors import ConfigError
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.weight_names import check_names_and_shapes


class Autoencoder(nn.Module):
    """decode(encode(x)).

    Args:
        architecture: what to build; its docstring lists the layers.

    Inputs are (N, 1, 28, 28) or (N, 784), anything whose values fit the architecture's input; outputs are
    (N, 784), in [0, 1] where the output activation is a sigmoid.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = nn.Sequential(*map(to_module, architecture.encoder_layers()))
        self.decoder = nn.Sequential(*map(to_module, architecture.decoder_layers()))
        if isinstance(architecture, FullyConnected) and architecture.tied:
            linears = [layer for layer in self.encoder if isinstance(layer, nn.Linear)]
            for index, linear in enumerate(reversed(linears)):
                self.decoder[2 * index] = TiedLinear(linear)

        # Convolutions are a quarter faster on a CPU with NHWC weights; the shapes stay NCHW.
        self.to(memory_format=torch.channels_last)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Encode images (N, ...) -> codes (N, code width); `ConfigError` if an image is not of the input's size."""
        shape = self.architecture.input_shape
        if math.prod(x.shape[1:]) != math.prod(shape):
            raise ConfigError(f"x: found images of shape {tuple(x.shape[1:])}, allowed: {shape} or flat")
        codes: torch.Tensor = self.encoder(x.reshape(len(x), *shape))
        return codes

    def decode(self, code: torch.Tensor) -> torch.Tensor:
        """Decode codes (N, code width) -> images (N, 784)."""
        images: torch.Tensor = self.decoder(code)
        return images

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct images (N, ...) -> (N, 784)."""
        return self.decode(self.encode(x))


def build_autoencoder(architecture: Architecture, *, seed: int = 0) -> Autoencoder:
    """Build an autoencoder at the starting weights of this seed, which are the same in every framework."""
    model = Autoencoder(architecture)
    load_reference_weights(model, initial_weights(architecture, seed=seed))
    return model


def load_reference_weights(model: Autoencoder, weights: Mapping[str, np.ndarray]) -> None:
    """Copy weights into the model.

    Raises:
        CheckpointError: a name is missing or unexpected, or a shape differs, or a value is not finite.
    """
    check_names_and_shapes(weights, parameter_shapes(model.architecture), where="weights")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(np.array(weights[name])))


def to_reference_weights(model: Autoencoder) -> dict[str, np.ndarray]:
    """Copy the weights to the host: {name: array of the model's type}, in the order of the spec."""
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach().cpu().numpy().copy() for name in parameter_shapes(model.architecture)}
