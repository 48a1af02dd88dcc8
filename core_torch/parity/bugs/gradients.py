"""Bugs in the gradients."""

from collections.abc import Callable

import numpy as np

from core_torch.parity.bugs.bug import Bug
from core_torch.parity.bugs.layers import OutputSlopeForgotten
from core_torch.parity.bugs.places import has_biases, has_hidden_layers, has_pools, is_convolutional, output_is
from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.layers import Activation, Layer, MaxPooling

SMALL_NORM = 1e-3  # of all gradients together, to which they are clipped


def without(part: str) -> Callable[[str, np.ndarray], np.ndarray]:
    """Set gradients of names with that part to zero."""
    return lambda name, gradient: gradient * (part not in name)


def first_of(part: str, factor: float) -> Callable[[str, np.ndarray], np.ndarray]:
    """Multiply the first value of a gradient whose name begins so."""

    def spoil(name: str, gradient: np.ndarray) -> np.ndarray:
        if not name.startswith(part):
            return gradient
        spoilt = gradient.copy()
        spoilt.flat[0] *= factor
        return spoilt

    return spoil


class SlopeForgotten(Oracle):
    """Let the gradient pass activations of the encoder or the hidden layers unchanged."""

    where = "hidden"

    def backward(self, name: str, layer: Layer, x: np.ndarray, upstream: np.ndarray) -> tuple[np.ndarray, Arrays]:
        """Skip that activation."""
        is_inner = isinstance(layer, Activation) and name != self.layers[-1][0]
        if is_inner and (name == self.code_layer) == (self.where == "code"):
            return upstream, {}
        return super().backward(name, layer, x, upstream)


class CodeSlopeForgotten(SlopeForgotten):
    """Let the gradient pass the code's activation unchanged."""

    where = "code"


class PoolSharesGradient(Oracle):
    """Divide a pool's gradient equally among its block."""

    def backward(self, name: str, layer: Layer, x: np.ndarray, upstream: np.ndarray) -> tuple[np.ndarray, Arrays]:
        """Return a quarter to each of four."""
        if not isinstance(layer, MaxPooling):
            return super().backward(name, layer, x, upstream)
        shared = np.repeat(np.repeat(upstream, layer.size, axis=2), layer.size, axis=3) / layer.size**2
        down = np.zeros_like(x)
        down[:, :, : shared.shape[2], : shared.shape[3]] = shared
        return down, {}


class SmallNorm(OracleOptimizer):
    """Clip the norm of all gradients together."""

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Scale them down to it."""
        loss, gradients = super().gradients(inputs, targets)
        norm = np.sqrt(sum(float(np.sum(value**2)) for value in gradients.values()))
        scale = self.oracle.dtype(min(1.0, SMALL_NORM / norm))
        return loss, {name: scale * value for name, value in gradients.items()}


class OfOneImage(OracleOptimizer):
    """Take the gradient of the first image for that of the batch."""

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Return the loss of all."""
        loss, _ = super().gradients(inputs, targets)
        return loss, super().gradients(inputs[:1], targets[:1])[1]


GRADIENT_BUGS: dict[str, Bug] = {
    "encoder frozen": Bug("no gradient reaches the encoder", spoils=without("encoder")),
    "decoder frozen": Bug("no gradient reaches the decoder", spoils=without("decoder")),
    "first layer frozen": Bug("no gradient reaches the first layer", spoils=without("encoder.0")),
    "biases frozen": Bug("no gradient reaches the biases", spoils=without("bias"), needs=has_biases),
    "weights frozen": Bug("no gradient reaches the weights", spoils=without("weight"), needs=has_biases),
    "convolutions frozen": Bug(
        "no gradient reaches the convolutions",
        spoils=lambda name, gradient: gradient * (gradient.ndim != 4),
        needs=is_convolutional,
    ),
    "one weight frozen": Bug("no gradient reaches one weight of the first layer", spoils=first_of("encoder.0.w", 0)),
    "one weight's gradient negative": Bug(
        "one gradient of the first layer has the wrong sign", spoils=first_of("encoder.0.w", -1)
    ),
    "gradients clipped": Bug("gradients are clipped at 0.0001", spoils=lambda n, g: np.clip(g, -1e-4, 1e-4)),
    "norm of gradients clipped": Bug("the norm of all gradients is clipped at 0.001", optimizer=SmallNorm),
    "gradients in half precision": Bug(
        "gradients pass through float16", spoils=lambda n, g: g.astype(np.float16).astype(g.dtype)
    ),
    "signs for gradients": Bug("only the signs of gradients are used", spoils=lambda n, g: np.sign(g)),
    "gradients normalised": Bug(
        "each gradient is divided by its norm", spoils=lambda n, g: g / (np.linalg.norm(g) or 1)
    ),
    "gradients negative": Bug("gradients have the wrong sign", spoils=lambda n, g: -g),
    "gradients halved": Bug("gradients lack the factor 2 of a square", spoils=lambda n, g: 0.5 * g),
    "gradients off by a thousandth": Bug("gradients are a thousandth too large", spoils=lambda n, g: 1.001 * g),
    "gradient of one image": Bug("the gradient is that of the batch's first image", optimizer=OfOneImage),
    "output slope forgotten": Bug(
        "the gradient does not pass the output's sigmoid", oracle=OutputSlopeForgotten, needs=output_is("sigmoid")
    ),
    "code slope forgotten": Bug("the gradient does not pass the code's activation", oracle=CodeSlopeForgotten),
    "hidden slopes forgotten": Bug(
        "the gradient does not pass the hidden activations", oracle=SlopeForgotten, needs=has_hidden_layers
    ),
    "pool's gradient shared": Bug(
        "a pool divides its gradient among its block", oracle=PoolSharesGradient, needs=has_pools
    ),
    "bias gradients averaged": Bug(
        "gradients of biases are averaged, not summed",
        spoils=lambda n, g: g / max(2, g.size) if n.endswith("bias") else g,
        needs=has_biases,
    ),
}
