"""The randomized autoencoders: no biases, linear output, weights found layer by layer from random ones.

Kasun, Zhou, Huang, Vong, Representational Learning with ELMs for Big Data, IEEE Intelligent Systems
28(6), 2013.
"""

from collections.abc import Sequence

import numpy as np

from core_torch.models.autoencoder import Autoencoder
from core_torch.spec.architecture import DENSE, FullyConnected
from core_torch.spec.errors import check_choice

INITS = ("orthogonal", "uniform")


class RandomizedAutoencoder(Autoencoder):
    """`widths`, mirrored, without biases: 784 -> 500 -> 784 by default; `train_randomized` finds the weights.

    Otherwise an ordinary autoencoder: saved, loaded and fine-tuned as one. The output is linear because ridge
    regression is least squares; with a sigmoid, the original's, only gradient descent without a refit remains.

    Args:
        widths: of the encoder, input first.
        activation: of every layer but the output.
    """

    def __init__(
        self,
        widths: Sequence[int] = DENSE["randomized-shallow"].widths,
        *,
        activation: str = "relu",
        output_activation: str = "linear",
    ) -> None:
        architecture = FullyConnected(
            widths=tuple(widths),
            hidden_activation=activation,
            code_activation=activation,
            output_activation=output_activation,
            bias=False,
        )
        super().__init__(architecture)


def random_matrix(outputs: int, inputs: int, *, init: str, generator: np.random.Generator) -> np.ndarray:
    """Draw a random matrix (outputs, inputs) float32.

    `orthogonal`: orthonormal rows, or columns where there are fewer of them; every direction equally likely
    (Mezzadri 2007: QR of a Gaussian matrix with the signs fixed). `uniform`: +-1/sqrt(inputs), the
    original repository's.
    """
    check_choice("init", init, INITS)
    if init == "uniform":
        bound = inputs**-0.5
        return generator.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)
    tall = generator.standard_normal((max(outputs, inputs), min(outputs, inputs)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    return np.ascontiguousarray(q if outputs >= inputs else q.T, dtype=np.float32)
