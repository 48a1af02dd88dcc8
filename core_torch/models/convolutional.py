"""The convolutional autoencoders: one convolution, or several."""

from typing import Any

from core_torch.models.autoencoder import Autoencoder
from core_torch.spec.architecture import CONVOLUTIONAL, Convolutional


class ShallowConvAutoencoder(Autoencoder):
    """One convolution and its pooling, a dense code, and one transposed convolution back.

    Inputs (N, channels, side, side) or flat, outputs (N, channels * side * side). Further arguments (side,
    channels, code_width, activations) are those of `Convolutional`.

    Raises:
        ConfigError: an argument is out of range, or the kernel is larger than the image.
    """

    def __init__(self, filters: int = 20, kernel_size: int = 5, **options: Any) -> None:
        super().__init__(Convolutional(filters=(filters,), kernel_sizes=(kernel_size,), **options))


class DeepConvAutoencoder(Autoencoder):
    """As many convolutions as `filters`, each pooled, a dense code, and as many transposed convolutions.

    Further arguments (pool_every, strides, side, channels, code_width, activations) are those of
    `Convolutional`.

    Raises:
        ConfigError: an argument is out of range, or a kernel is larger than the image it meets.
    """

    def __init__(
        self,
        filters: tuple[int, ...] = CONVOLUTIONAL["conv-deep"].filters,
        kernel_sizes: tuple[int, ...] = CONVOLUTIONAL["conv-deep"].kernel_sizes,
        **options: Any,
    ) -> None:
        super().__init__(Convolutional(filters=filters, kernel_sizes=kernel_sizes, **options))
