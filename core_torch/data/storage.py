"""Where the images of a dataset live, and how those at some indices become a batch."""

from typing import Protocol, Self

import torch

from core_torch.files.splits import WHITE

GATHER_SIZE = 512  # images at once, unless a batch is larger
Place = int | slice | list[int] | torch.Tensor


class Storage(Protocol):
    """Images (N, ...) that a dataset holds."""

    @property
    def images(self) -> torch.Tensor:
        """As they are stored."""

    @property
    def device(self) -> torch.device:
        """Where gathered images are."""

    @property
    def residency(self) -> str:
        """`float32`, `uint8` or `streamed`."""

    def __len__(self) -> int: ...

    def read(self, place: Place) -> torch.Tensor:
        """Copy one image or several, float32 in [0, 1]."""

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        """Copy the images at `index` (B,) int64, float32 in [0, 1]."""

    def subset(self, index: torch.Tensor) -> Self:
        """Return a storage of these images, in this order."""

    def with_images(self, images: torch.Tensor) -> "Storage":
        """Return a storage of other images, read in the same way if it can be."""


class TensorStorage:
    """Images in one tensor on one device: float32 in [0, 1], or uint8 codes that are converted when they are read."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    @property
    def device(self) -> torch.device:
        """Where the tensor lives."""
        return self.images.device

    @property
    def residency(self) -> str:
        """`float32` or `uint8`."""
        return "uint8" if self.images.dtype == torch.uint8 else "float32"

    def __len__(self) -> int:
        return len(self.images)

    def read(self, place: Place) -> torch.Tensor:
        """See `Storage`."""
        return to_unit_range(self.images[place].clone())

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        """See `Storage`; the index is on the device."""
        return to_unit_range(self.images.index_select(0, index))

    def subset(self, index: torch.Tensor) -> Self:
        """See `Storage`."""
        return type(self)(self.images[index.to(self.device)])

    def with_images(self, images: torch.Tensor) -> Self:
        """See `Storage`."""
        return type(self)(images)


def gather_size(batch_size: int) -> int:
    """Return how many images to gather at once: whole batches."""
    return batch_size * max(1, GATHER_SIZE // batch_size)


def to_unit_range(pixels: torch.Tensor) -> torch.Tensor:
    """Divide uint8 codes by 255 into float32, as `ToTensor` does; float32 passes unchanged."""
    if pixels.dtype != torch.uint8:
        return pixels
    if pixels.is_cpu:  # where `div` would convert into memory of its own first
        return pixels.float().div_(WHITE)
    # One kernel. By a number CUDA multiplies, with its reciprocal; by a tensor it divides.
    return pixels.div(pixels.new_full((), WHITE, dtype=torch.float32))
