"""A split that lives on one device, transformed once; a minibatch is an index away.

The idea is Joost van Amersfoort's FastMNIST; here a batch is one gather, with no DataLoader, no Python
per image and no host synchronisation.
"""

from collections.abc import Iterator
from copy import copy
from typing import Self

import numpy as np
import torch
from torch.utils.data import Dataset

from core_torch.files.splits import WHITE, Split, hold_out
from core_torch.spec.batch_order import epoch_order
from core_torch.spec.errors import ConfigError, check_choice, check_integer

RESIDENCIES = ("float32", "uint8")
GATHER_SIZE = 512  # images at once, unless a batch is larger
Batch = tuple[torch.Tensor, torch.Tensor]


class ResidentDataset(Dataset[tuple[torch.Tensor, object]]):
    """Images of one split on one device.

    Attributes:
        data: (N, 1, 28, 28) float32 in [0, 1], bit-equal to torchvision's `ToTensor`; as `uint8` residency the
            codes 0..255, a quarter of the memory, converted batch by batch.
        targets: (N, 784), what a model should reproduce: the clean pixels, here the memory of `data`.
        labels: (N,) int64.

    Args:
        split: images and labels.
        device: where they live.
        residency: `float32` or `uint8`.
    """

    data: torch.Tensor
    targets: torch.Tensor
    labels: torch.Tensor

    def __init__(self, split: Split, *, device: torch.device | str = "cpu", residency: str = "float32") -> None:
        self._place(torch.tensor(split.images), torch.tensor(split.labels), device=device, residency=residency)

    def _place(self, images: torch.Tensor, labels: torch.Tensor, *, device: torch.device | str, residency: str) -> None:
        """Move to the device: uint8 (N, 28, 28) or (N, 1, 28, 28), or float32 (N, ...) from a transform."""
        check_choice("residency", residency, RESIDENCIES)
        if images.dtype != torch.uint8 and residency == "uint8":
            raise ConfigError("residency: uint8 keeps the stored pixels, so it allows no transform")
        if images.dtype == torch.uint8:
            # Moved as bytes, a quarter of the traffic, and divided on the device.
            images = images.reshape(len(images), 1, *images.shape[-2:]).to(device)
        elif not images.isfinite().all():
            raise ConfigError("data: found a pixel that is not finite, allowed: finite numbers")
        self.data = to_unit_range(images).float() if residency == "float32" else images
        self.data = self.data.to(device)
        self.targets = self.data.flatten(1)
        self.labels = labels.to(device)

    @property
    def device(self) -> torch.device:
        """Where the split lives."""
        return self.data.device

    @property
    def residency(self) -> str:
        """`float32` or `uint8`."""
        return "uint8" if self.data.dtype == torch.uint8 else "float32"

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int | slice | list[int] | torch.Tensor) -> tuple[torch.Tensor, object]:
        """(image, label) for an int, as torchvision's MNIST with `ToTensor`; (images, labels) for many.

        The images are copies.
        """
        image, label = to_unit_range(self.data[index].clone()), self.labels[index]
        return image, label.item() if label.dim() == 0 else label

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        generator: torch.Generator | None = None,
        drop_last: bool = False,
    ) -> Iterator[Batch]:
        """Minibatches (inputs (B, 1, 28, 28), targets (B, 784)) float32 on the device, every image once.

        Where the data are clean, both are one memory: corrupt a copy.

        Args:
            batch_size: images per batch; the last batch is shorter unless `drop_last`.
            shuffle: in the contract's order for (seed, epoch), or in the order that `generator` draws.
        """
        check_integer("batch_size", batch_size, minimum=1)
        check_integer("seed", seed, minimum=0)
        check_integer("epoch", epoch, minimum=0)
        order = self._order(shuffle=shuffle, seed=seed, epoch=epoch, generator=generator)
        end = len(order) - len(order) % batch_size if drop_last else len(order)
        return self._deliver(order[:end], min(batch_size, end)) if end else iter(())

    def _order(self, *, shuffle: bool, seed: int, epoch: int, generator: torch.Generator | None) -> torch.Tensor:
        if not shuffle:
            return torch.arange(len(self), device=self.device)
        if generator is not None:
            return torch.randperm(len(self), generator=generator, device=generator.device).to(self.device)
        return torch.from_numpy(epoch_order(len(self), seed=seed, epoch=epoch)).to(self.device)

    def _deliver(self, order: torch.Tensor, batch_size: int) -> Iterator[Batch]:
        # Small batches are gathered some at a time, and parted so that autograd sees no relation between them.
        for index in order.split(gather_size(batch_size)):
            inputs, targets = self.gather(index)
            yield from zip(inputs.unsafe_split(batch_size), targets.unsafe_split(batch_size))

    def gather(self, index: torch.Tensor) -> Batch:
        """The batch of the images at `index` (B,) int64, a tensor on the device; see `batches`."""
        inputs = to_unit_range(self.data.index_select(0, index))
        # Clean targets are the inputs: gathered once.
        targets = inputs.flatten(1) if self._is_clean else to_unit_range(self.targets.index_select(0, index))
        return inputs, targets

    @property
    def _is_clean(self) -> bool:
        return self.data.data_ptr() == self.targets.data_ptr()

    def hold_out(self, fraction: float, *, seed: int = 0) -> tuple[Self, Self]:
        """Two disjoint datasets: the images kept, and a random `fraction` for validation."""
        kept, held = hold_out(len(self), fraction=fraction, seed=seed)
        return self.subset(kept), self.subset(held)

    def with_data(self, data: torch.Tensor) -> Self:
        """Return a dataset of these inputs, which are its targets too, with the same labels."""
        part = copy(self)
        part.data, part.targets = data, data.flatten(1)
        return part

    def subset(self, indices: np.ndarray) -> Self:
        """A dataset of these images, in this order."""
        index = torch.from_numpy(indices).to(self.device)
        part = copy(self)
        part.data, part.labels = self.data[index], self.labels[index]
        part.targets = part.data.flatten(1) if self._is_clean else self.targets[index]
        return part


def gather_size(batch_size: int) -> int:
    """How many images to gather at once: whole batches."""
    return batch_size * max(1, GATHER_SIZE // batch_size)


def to_unit_range(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 codes -> float32 in [0, 1] by division, as `ToTensor` does; float32 passes unchanged."""
    if pixels.dtype != torch.uint8:
        return pixels
    if pixels.is_cpu:  # where `div` would convert into memory of its own first
        return pixels.float().div_(WHITE)
    # One kernel. By a number CUDA multiplies, with its reciprocal; by a tensor it divides.
    return pixels.div(pixels.new_full((), WHITE, dtype=torch.float32))
