"""Ways to deliver shuffled float32 batches in PyTorch, from the tutorial's to the resident dataset's."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler, TensorDataset

from benchmarks.loaders.loading import LoadingTrial
from benchmarks.ports.per_image import PerImageDataset
from benchmarks.ports.timed_port import Case
from core_torch.data.compiled import CompiledDataset
from core_torch.data.resident import ResidentDataset
from core_torch.data.streaming import StreamedDataset
from core_torch.files.splits import Split, to_unit_range
from core_torch.spec.batch_order import epoch_order
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import Recipe

Loader = Callable[[int], Iterable[torch.Tensor]]  # epoch -> batches (B, 1, 28, 28)


class BatchedDataset(Dataset[Any]):
    """Answers a whole batch at once: by `__getitems__` to a DataLoader, by all its indices to a sampler of batches.

    By `index_select`, which takes less time than `images[indices]`.
    """

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: list[int] | torch.Tensor) -> torch.Tensor:
        return self.images.index_select(0, torch.as_tensor(index))

    def __getitems__(self, indices: list[int]) -> torch.Tensor:
        """The batch, already collated."""
        return self[indices]


class PermutationSampler(Sampler[torch.Tensor]):
    """Batches of indices as tensors: no Python number an image."""

    def __init__(self, count: int, batch_size: int) -> None:
        self.count, self.batch_size = count, batch_size

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.randperm(self.count).split(self.batch_size))


def per_image(split: Split, batch_size: int, **options: Any) -> Loader:
    """The tutorial: one PIL image at a time through `ToTensor`; options are the DataLoader's."""
    loader: DataLoader[Any] = DataLoader(PerImageDataset(split), batch_size=batch_size, shuffle=True, **options)
    return lambda epoch: (images for images, _ in loader)


def tensor_dataset(split: Split, batch_size: int) -> Loader:
    """Transformed once, but still one image at a time."""
    loader = DataLoader(TensorDataset(_floats(split)), batch_size=batch_size, shuffle=True)
    return lambda epoch: (images for (images,) in loader)


def getitems(split: Split, batch_size: int) -> Loader:
    """A DataLoader whose dataset answers a batch at once."""
    dataset = BatchedDataset(_floats(split))
    loader = DataLoader(dataset, batch_size=batch_size, shuffle=True, collate_fn=lambda batch: batch)
    return lambda epoch: loader


def batch_sampler(split: Split, batch_size: int) -> Loader:
    """A DataLoader that is handed whole batches of indices."""
    dataset = BatchedDataset(_floats(split))
    sampler = BatchSampler(RandomSampler(dataset), batch_size, drop_last=False)
    loader: DataLoader[Any] = DataLoader(dataset, sampler=sampler, batch_size=None)
    return lambda epoch: loader


def permutation_sampler(split: Split, batch_size: int) -> Loader:
    """A DataLoader that is handed tensors of indices: the least work that one can have."""
    dataset = BatchedDataset(_floats(split))
    loader: DataLoader[Any] = DataLoader(dataset, sampler=PermutationSampler(len(dataset), batch_size), batch_size=None)
    return lambda epoch: loader


def resident(split: Split, batch_size: int, *, residency: str, device: str, seed: int) -> Loader:
    """The dataset on the device; a batch is one gather. Or streamed there; or by the loop that Numba compiles."""
    if residency == "streamed":
        dataset: ResidentDataset = StreamedDataset(split, device=device)
    elif residency == "compiled":
        dataset = compiled(split, device=device)
    else:
        dataset = ResidentDataset(split, device=device, residency=residency)
    return lambda epoch: (inputs for inputs, _ in dataset.batches(batch_size, seed=seed, epoch=epoch))


def compiled(split: Split, *, device: str) -> CompiledDataset:
    """The dataset by the loop that its name tells of; `ConfigError` where it fell back to PyTorch's gather."""
    dataset = CompiledDataset(split, device=device)
    if not dataset.is_compiled:
        raise ConfigError("compiled: found no numba that can be imported, allowed: with it")
    return dataset


def resident_one_by_one(split: Split, batch_size: int) -> Loader:
    """The resident dataset where a tutorial has torchvision's: collated from single images."""
    loader: DataLoader[Any] = DataLoader(ResidentDataset(split), batch_size=batch_size, shuffle=True)
    return lambda epoch: (images for images, _ in loader)


def permuted(split: Split, batch_size: int, *, device: str, seed: int) -> Loader:
    """One gather an epoch; a batch is a view, valid until the next epoch."""
    images = _floats(split).to(device)
    buffer = torch.empty_like(images)

    def batches(epoch: int) -> Iterable[torch.Tensor]:
        order = torch.from_numpy(epoch_order(len(images), seed=seed, epoch=epoch)).to(device)
        return torch.split(torch.index_select(images, 0, order, out=buffer), batch_size)

    return batches


def _floats(split: Split) -> torch.Tensor:
    return torch.from_numpy(to_unit_range(split.images)).unsqueeze(1)


def build_loader(case: Case, split: Split, recipe: Recipe) -> Loader:
    """The loader that a variant stands for."""
    size = case.batch_size
    match case.variant:
        case "dataloader":
            return per_image(split, size)
        case "dataloader-2-workers":
            return per_image(split, size, num_workers=2)
        case "dataloader-8-workers":
            return per_image(split, size, num_workers=8, persistent_workers=True, pin_memory=torch.cuda.is_available())
        case "tensor-dataset":
            return tensor_dataset(split, size)
        case "getitems":
            return getitems(split, size)
        case "batch-sampler":
            return batch_sampler(split, size)
        case "permutation-sampler":
            return permutation_sampler(split, size)
        case "fast-mnist-dataloader":
            return resident_one_by_one(split, size)
        case "permuted":
            return permuted(split, size, device=case.device, seed=recipe.seed)
        case _:
            residency = case.variant.removeprefix("fast-mnist-")
            return resident(split, size, residency=residency, device=case.device, seed=recipe.seed)


def prepare(case: Case, split: Split, recipe: Recipe) -> LoadingTrial:
    """The trial of a case."""
    loader = build_loader(case, split, recipe)

    def rows(epoch: int) -> Iterator[np.ndarray]:
        return (batch.flatten(1).cpu().numpy() for batch in loader(epoch))

    def epoch_images(epoch: int) -> int:
        count = 0
        for batch in loader(epoch):
            count += len(batch)
        if case.device.startswith("cuda"):
            torch.cuda.synchronize()
        return count

    return LoadingTrial(rows, epoch_images)
