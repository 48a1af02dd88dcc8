"""Starting weights, drawn once in NumPy so that every framework begins at the same point."""

import math

import numpy as np

from core_torch.spec.architecture import Architecture, parameter_shapes


def initial_weights(architecture: Architecture, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw {name: float32 array} in the reference's order and layout (see `layers`).

    Weights and biases are uniform in +-1/sqrt(fan_in), PyTorch's default for linear and convolutional layers
    (LeCun et al. 1998, section 4.6, up to a constant). A transposed convolution's fan_in counts, as
    PyTorch's does, its outputs times the kernel's area.
    """
    generator = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    bound = 0.0
    for name, shape in parameter_shapes(architecture).items():
        if name.endswith("weight"):
            bound = 1 / math.sqrt(math.prod(shape[1:]))
        elif f"{name.removesuffix('bias')}weight" not in weights:
            bound = 1 / math.sqrt(_tied_fan_in(name, architecture))
        weights[name] = generator.uniform(-bound, bound, shape).astype(np.float32)
    return weights


def _tied_fan_in(bias_name: str, architecture: Architecture) -> int:
    """Return the inputs of the tied decoder layer whose weight lives in the encoder."""
    layer = architecture.decoder_layers()[int(bias_name.split(".")[1])]
    return layer.inputs  # type: ignore[union-attr]
