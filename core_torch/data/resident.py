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

from core_torch.data.storage import Place, Storage, TensorStorage, gather_size, to_unit_range
from core_torch.files.splits import Split, hold_out
from core_torch.spec.batch_order import epoch_order
from core_torch.spec.errors import ConfigError, check_choice, check_integer

RESIDENCIES = ("float32", "uint8")
Batch = tuple[torch.Tensor, torch.Tensor]


class ResidentDataset(Dataset[tuple[torch.Tensor, object]]):
    """Images of one split on one device.

    Attributes:
        data: (N, 1, 28, 28) float32 in [0, 1], bit-equal to torchvision's `ToTensor`; as `uint8` residency the
            codes 0..255, a quarter of the memory, converted batch by batch.
        targets: (N, 784), what a model should reproduce: the clean pixels, here the memory of `data`.
        labels: (N,) int64.
        storage: holds the inputs.

    Args:
        split: images and labels.
        device: where they live.
        residency: `float32` or `uint8`.
    """

    storage: Storage
    labels: torch.Tensor
    _targets: torch.Tensor | None = None  # None where they are the inputs

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
        images = to_unit_range(images).float() if residency == "float32" else images
        self.storage, self._targets, self.labels = TensorStorage(images.to(device)), None, labels.to(device)

    @property
    def data(self) -> torch.Tensor:
        """The inputs, as they are stored. Setting them leaves the targets as they are."""
        return self.storage.images

    @data.setter
    def data(self, images: torch.Tensor) -> None:
        if not hasattr(self, "storage"):
            self.storage = TensorStorage(images)
            return
        self._targets = self.targets
        self.storage = self.storage.with_images(images)

    @property
    def targets(self) -> torch.Tensor:
        """What a model should reproduce; the memory of the inputs where these are clean."""
        return self.data.flatten(1) if self._targets is None else self._targets

    @targets.setter
    def targets(self, targets: torch.Tensor) -> None:
        self._targets = None if targets.data_ptr() == self.data.data_ptr() else targets

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self.storage.device

    @property
    def residency(self) -> str:
        """`float32`, `uint8` or `streamed`."""
        return self.storage.residency

    def __len__(self) -> int:
        return len(self.storage)

    def __getitem__(self, index: Place) -> tuple[torch.Tensor, object]:
        """Return (image, label) for an int, as torchvision's MNIST with `ToTensor`; (images, labels) for many.

        The images are copies.
        """
        image, label = self.storage.read(index), self.labels[index]
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
        """Yield minibatches (inputs (B, 1, 28, 28), targets (B, 784)) float32 on the device, every image once.

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
        """Return the batch of the images at `index` (B,) int64, a tensor on the device; see `batches`."""
        inputs = self.storage.gather(index)
        if self._targets is None:  # clean: gathered once
            return inputs, inputs.flatten(1)
        return inputs, to_unit_range(self._targets.index_select(0, index))

    def hold_out(self, fraction: float, *, seed: int = 0) -> tuple[Self, Self]:
        """Split into two disjoint datasets: the images kept, and a random `fraction` for validation."""
        kept, held = hold_out(len(self), fraction=fraction, seed=seed)
        return self.subset(kept), self.subset(held)

    def with_data(self, data: torch.Tensor) -> Self:
        """Return a dataset of these inputs, which are its targets too, with the same labels."""
        part = copy(self)
        part.storage, part._targets = TensorStorage(data), None
        return part

    def subset(self, indices: np.ndarray) -> Self:
        """Return a dataset of these images, in this order."""
        index = torch.from_numpy(indices)
        part = copy(self)
        part.storage, part.labels = self.storage.subset(index), self.labels[index.to(self.device)]
        part._targets = None if self._targets is None else self._targets[index.to(self.device)]
        return part
