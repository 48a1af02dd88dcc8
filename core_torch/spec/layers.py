"""The kinds of layer an architecture is a list of. A port translates each kind once.

Arrays are written (N, C, H, W) for images and (N, width) for vectors; a framework that stores
images otherwise converts at its own door.
"""

from dataclasses import dataclass
from typing import Literal, get_args

ActivationName = Literal["relu", "sigmoid", "tanh", "silu", "linear"]
ACTIVATIONS: tuple[str, ...] = get_args(ActivationName)


@dataclass(frozen=True)
class Dense:
    """x (N, inputs) -> x W^T + b (N, outputs); W is (outputs, inputs), b is (outputs,) or absent."""

    inputs: int
    outputs: int
    bias: bool = True


@dataclass(frozen=True)
class Activation:
    """Elementwise: relu max(x, 0), sigmoid 1 / (1 + e^-x), tanh, silu x sigmoid(x), linear x."""

    name: str


@dataclass(frozen=True)
class Convolution:
    """Cross-correlation, (N, inputs, H, W) -> (N, outputs, H', W'); W is (outputs, inputs, kernel, kernel).

    `padding` is (before, after) zeros on both axes, so H' = (H + before + after - kernel) // stride + 1.
    Writing both sides keeps even kernels and strided `same` convolutions unambiguous across frameworks.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class MaxPooling:
    """Maximum over size x size windows, stride = size, remainder dropped: H' = H // size."""

    size: int = 2


@dataclass(frozen=True)
class TransposedConvolution:
    """Gradient of a convolution with respect to its input; W is (inputs, outputs, kernel, kernel).

    The full output has side (H - 1) * stride + kernel; `crop` is (before, after) pixels cut from both axes.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    crop: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Flatten:
    """(N, C, H, W) -> (N, C*H*W), channel first."""


@dataclass(frozen=True)
class Unflatten:
    """(N, C*H*W) -> (N, C, H, W), channel first."""

    channels: int
    side: int


Layer = Dense | Activation | Convolution | MaxPooling | TransposedConvolution | Flatten | Unflatten
