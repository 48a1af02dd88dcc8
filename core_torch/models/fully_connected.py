"""The standard autoencoders: one hidden layer, or several."""

from collections.abc import Sequence
from typing import Any

from core_torch.models.autoencoder import Autoencoder
from core_torch.spec.architecture import DENSE, PIXELS, FullyConnected


class ShallowAutoencoder(Autoencoder):
    """784 -> code (ReLU) -> 784 (sigmoid). Further arguments are those of `FullyConnected`."""

    def __init__(self, code_width: int = 200, *, input_width: int = PIXELS, **options: Any) -> None:
        super().__init__(FullyConnected(widths=(input_width, code_width), **options))


class DeepAutoencoder(Autoencoder):
    """`widths`, mirrored: 784 -> 500 -> 200 -> 100 -> 10 -> 100 -> 200 -> 500 -> 784 by default.

    ReLU between, sigmoid last. Further arguments are those of `FullyConnected`.
    """

    def __init__(self, widths: Sequence[int] = DENSE["deep"].widths, **options: Any) -> None:
        super().__init__(FullyConnected(widths=tuple(widths), **options))
