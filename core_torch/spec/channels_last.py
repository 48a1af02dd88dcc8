"""The layout of frameworks that keep channels last, Keras and JAX among them, and the way there and back, both exact.

Names stay the reference's. A dense weight is (inputs, outputs) there, a convolution's (kernel, kernel, inputs,
outputs).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core_torch.spec.architecture import Architecture, Convolutional, parameter_shapes
from core_torch.spec.layers import Flatten, Unflatten
from core_torch.spec.weight_names import check_names_and_shapes

Shape = tuple[int, ...]

# (out, in) -> (in, out), (out, in, k, k) -> (k, k, in, out); of transposed convolutions with out and in exchanged.
AXES = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}


@dataclass(frozen=True)
class LayoutPermutation:
    """How one array changes layout: view it as `grouped`, transpose by `axes`, view it in the other shape.

    The other shape is the reference's reversed, for every parameter.
    """

    shape: Shape  # the reference's
    grouped: Shape
    axes: Shape

    def to_channels_last(self, array: np.ndarray) -> np.ndarray:
        """Return a new contiguous array in the other layout."""
        turned = np.asarray(array).reshape(self.grouped).transpose(self.axes)
        return np.array(turned, order="C").reshape(self.shape[::-1])

    def to_reference(self, array: np.ndarray) -> np.ndarray:
        """Return a new contiguous array in the reference's layout."""
        turned = array.reshape([self.grouped[axis] for axis in self.axes]).transpose(np.argsort(self.axes))
        return np.array(turned, order="C").reshape(self.shape)


def layout(architecture: Architecture) -> dict[str, LayoutPermutation]:
    """Return {reference name: permutation} for every parameter, in the reference's order."""
    permutations = {
        name: LayoutPermutation(shape, shape, AXES[len(shape)])
        for name, shape in parameter_shapes(architecture).items()
    }
    return permutations | flatten_boundaries(architecture) if isinstance(architecture, Convolutional) else permutations


def flatten_boundaries(architecture: Convolutional) -> dict[str, LayoutPermutation]:
    """Return those of the dense layers beside images, flattened as (H, W, C) there and (C, H, W) in the reference."""
    encoder, decoder = architecture.encoder_layers(), architecture.decoder_layers()
    image = next((layer.channels, layer.side, layer.side) for layer in decoder if isinstance(layer, Unflatten))
    pixels, code = math.prod(image), architecture.code_width
    dense = encoder.index(Flatten()) + 1
    return {
        f"encoder.{dense}.weight": LayoutPermutation((code, pixels), (code, *image), (2, 3, 1, 0)),
        "decoder.0.weight": LayoutPermutation((pixels, code), (*image, code), (3, 1, 2, 0)),
        "decoder.0.bias": LayoutPermutation((pixels,), image, (1, 2, 0)),
    }


def to_channels_last(weights: Mapping[str, np.ndarray], architecture: Architecture) -> dict[str, np.ndarray]:
    """Convert weights, gradients or updates of the reference's layout; `CheckpointError` for those of another model."""
    check_names_and_shapes(weights, parameter_shapes(architecture), where="weights")
    return {name: permutation.to_channels_last(weights[name]) for name, permutation in layout(architecture).items()}


def from_channels_last(weights: Mapping[str, np.ndarray], architecture: Architecture) -> dict[str, np.ndarray]:
    """Convert them back; `CheckpointError` for the arrays of another model."""
    shapes = {name: shape[::-1] for name, shape in parameter_shapes(architecture).items()}
    check_names_and_shapes(weights, shapes, where="weights")
    return {
        name: permutation.to_reference(np.asarray(weights[name])) for name, permutation in layout(architecture).items()
    }
