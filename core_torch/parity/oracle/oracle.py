"""Oracle: outputs, loss and gradients of an autoencoder, the judge of every framework.

It imports no framework and calls no autograd, so an error shared with one of them is unlikely.
"""

import numpy as np

from core_torch.parity.oracle.jacobian import contractive_penalty
from core_torch.parity.oracle.network import Arrays, Network


class Oracle(Network):
    """A network with its loss: the squared error, and the contractive penalty where it is asked for."""

    def loss(self, inputs: np.ndarray, targets: np.ndarray, *, contraction: float = 0.0) -> float:
        """Squared error averaged over images and pixels, plus `contraction` times the mean of ||J||_F^2."""
        record = self.activations(inputs)
        error = self.error(record["output"], np.asarray(targets, self.dtype))[0]
        return error + self.penalty(record, weight=contraction) if contraction else error

    def gradients(self, inputs: np.ndarray, targets: np.ndarray, *, contraction: float = 0.0) -> tuple[float, Arrays]:
        """(loss, {name: gradient of the loss}), by the chain rule from the last layer to the first."""
        record = self.activations(inputs)
        loss, upstream = self.error(record["output"], np.asarray(targets, self.dtype))
        gradients: Arrays = {}
        self.pull_back(record, upstream, self.layers, gradients)
        if contraction:
            loss += self.penalty(record, weight=contraction, gradients=gradients)
        return loss, {name: gradients[name] for name in self.weights}

    def error(self, output: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """The squared error averaged over images and pixels, and its gradient at the output."""
        error = output - targets
        return float(np.mean(error**2)), 2 * error / error.size

    def penalty(self, record: Arrays, *, weight: float, gradients: Arrays | None = None) -> float:
        """See `contractive_penalty`."""
        return contractive_penalty(self, record, weight=weight, gradients=gradients)
