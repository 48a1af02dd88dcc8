"""The contract's layer kinds as PyTorch modules, and the two that PyTorch does not have."""

import torch
from torch import nn
from torch.nn import functional as F

from core_torch.spec.layers import (
    Activation,
    Convolution,
    Dense,
    Flatten,
    Layer,
    MaxPooling,
    TransposedConvolution,
    Unflatten,
)

ACTIVATION_MODULES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "linear": nn.Identity,
}


def to_module(layer: Layer) -> nn.Module:
    """Build the module of a layer."""
    match layer:
        case Dense(inputs, outputs, bias):
            return nn.Linear(inputs, outputs, bias=bias)
        case Activation(name):
            return ACTIVATION_MODULES[name]()
        case Convolution():
            return PaddedConvolution(layer)
        case TransposedConvolution():
            return CroppedTransposedConvolution(layer)
        case MaxPooling(size):
            return nn.MaxPool2d(size)
        case Flatten():
            return nn.Flatten()
        case Unflatten(channels, side):
            return nn.Unflatten(1, (channels, side, side))


class PaddedConvolution(nn.Conv2d):
    """(N, C, H, W) -> (N, O, H', W'), with as many zeros before as the contract says, and as many after."""

    def __init__(self, layer: Convolution) -> None:
        before, after = layer.padding
        even = before == after  # then the convolution pads by itself, without a copy
        super().__init__(layer.inputs, layer.outputs, layer.kernel, layer.stride, padding=before if even else 0)
        self.zeros = None if even else (before, after, before, after)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Pad where needed, convolve."""
        return super().forward(input if self.zeros is None else F.pad(input, self.zeros))


class CroppedTransposedConvolution(nn.ConvTranspose2d):
    """(N, C, H, W) -> (N, O, H', W'), cut to exactly the side the contract asks for."""

    def __init__(self, layer: TransposedConvolution) -> None:
        before, after = layer.crop
        common = min(before, after)  # cut by the convolution; what is left over is sliced off
        super().__init__(layer.inputs, layer.outputs, layer.kernel, layer.stride, padding=common)
        self.rest = (before - common, after - common)

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """Convolve, cut."""
        full = super().forward(input, output_size)
        before, after = self.rest
        return full[..., before : full.shape[-2] - after, before : full.shape[-1] - after]


class TiedLinear(nn.Module):
    """x (N, outputs of the other) -> x W + b (N, inputs of the other), W being another linear layer's weight."""

    def __init__(self, other: nn.Linear) -> None:
        super().__init__()
        self.others = [other]  # in a list, so that its weight is not registered, counted or saved twice
        if other.bias is None:
            self.register_parameter("bias", None)
        else:
            self.bias = nn.Parameter(torch.zeros(other.in_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply by the transpose of the encoder's weight."""
        return F.linear(x, self.others[0].weight.t(), self.bias)
