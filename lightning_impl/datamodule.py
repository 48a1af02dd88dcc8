"""MNISTDataModule: a dataset of the contract for a Trainer, by either of two routes with equal batches."""

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Sampler

from core_torch.contract.batch_order import epoch_order
from core_torch.contract.errors import ConfigError, check_choice, check_integer
from core_torch.contract.pixels import DATASETS, load_split
from core_torch.contract.recipe import Recipe
from core_torch.contract.sources import SOURCES, download_missing, raw_folder
from core_torch.data.resident import Batch, ResidentDataset
from core_torch.objectives.reconstruction import EVALUATION_BATCH

ROUTES = ("resident", "dataloader")


class EpochOrder(Sampler[int]):
    """The contract's order of `count` images, another one each epoch; Lightning calls `set_epoch`.

    Args:
        first_epoch: the contract's number of the Trainer's epoch 0.
    """

    def __init__(self, count: int, *, seed: int, first_epoch: int = 0) -> None:
        self.count, self.seed, self.first_epoch = count, seed, first_epoch
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the Trainer's epoch of that number."""
        self.epoch = self.first_epoch + epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(epoch_order(self.count, seed=self.seed, epoch=self.epoch).tolist())


class ResidentBatches:
    """What a Trainer asks of a DataLoader, without one: batches gathered where the dataset lives.

    Args:
        sampler: names the seed and the epoch of the order; None: the stored order.
    """

    batch_sampler = None  # Lightning looks for this and for `sampler`, to tell it the epoch

    def __init__(
        self, dataset: ResidentDataset, batch_size: int, *, sampler: EpochOrder | None = None
    ) -> None:
        check_integer("batch_size", batch_size, minimum=1)
        self.dataset, self.batch_size, self.sampler = dataset, batch_size, sampler

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        if self.sampler is None:
            return self.dataset.batches(self.batch_size, shuffle=False)
        return self.dataset.batches(self.batch_size, seed=self.sampler.seed, epoch=self.sampler.epoch)


class MNISTDataModule(L.LightningDataModule):
    """Training, validation and test images; the validation images are held out of the training split.

    A batch is (inputs (N, 1, 28, 28), targets (N, 784)), float32 in [0, 1].

    Args:
        dataset: one of `DATASETS`; digits needs no files.
        data_root: folder that holds MNIST/raw; default $MNIST_ROOT, then ./data.
        batch_size: images per training step.
        route: `resident`, on the device, a batch one gather; `dataloader`, PyTorch's, image by image.
        num_workers: processes of the DataLoader; 0: the Trainer's own.
        validation_fraction: of the training split; in [0, 0.5].
        seed: of the held-out choice and of the order.

    Raises:
        ConfigError: a value lies outside its range.
        DataFormatError: the files are absent, damaged, or not the published ones.
    """

    def __init__(
        self,
        dataset: str = "digits",
        data_root: str | None = None,
        batch_size: int = Recipe.batch_size,
        route: str = "resident",
        num_workers: int = 0,
        validation_fraction: float = Recipe.validation_fraction,
        seed: int = Recipe.seed,
    ) -> None:
        super().__init__()
        check_choice("dataset", dataset, DATASETS)
        check_choice("route", route, ROUTES)
        check_integer("num_workers", num_workers, minimum=0)
        self.recipe = Recipe(batch_size=batch_size, validation_fraction=validation_fraction, seed=seed)
        self.dataset, self.data_root, self.route, self.num_workers = dataset, data_root, route, num_workers
        self.save_hyperparameters()

    def prepare_data(self) -> None:
        """Download what is missing; in one process only."""
        if self.dataset in SOURCES:
            source = SOURCES[self.dataset]
            download_missing(source, raw_folder(source, self.data_root), dataset=self.dataset)

    def setup(self, stage: str) -> None:
        """Read what the stage needs."""
        if self.trainer and (count := self.trainer.world_size) > 1:
            raise ConfigError(f"trainer.devices: found {count}, allowed: 1, batches are not divided")
        if stage in ("fit", "validate"):
            everything = self._read(train=True)
            fraction, seed = self.recipe.validation_fraction, self.recipe.seed
            self.training, self.validation = everything.hold_out(fraction, seed=seed)
        else:
            self.testing = self._read(train=False)

    def _read(self, *, train: bool) -> ResidentDataset:
        split = load_split(self.dataset, train=train, root=self.data_root, download=False)
        device = self.trainer.strategy.root_device if self.trainer and self.route == "resident" else "cpu"
        return ResidentDataset(split, device=device)

    def train_dataloader(self) -> ResidentBatches | DataLoader:
        """In the contract's order for seed and epoch; the last batch may be shorter."""
        order = EpochOrder(len(self.training), seed=self.recipe.seed)
        if self.trainer:
            # A resumed fit takes its first iterator before it tells the sampler the epoch.
            order.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
        return self._batches(self.training, self.recipe.batch_size, order)

    def val_dataloader(self) -> ResidentBatches | DataLoader | list:
        """The held-out images, or nothing where the fraction is 0."""
        return self._batches(self.validation, EVALUATION_BATCH) if len(self.validation) else []

    def test_dataloader(self) -> ResidentBatches | DataLoader:
        """The test split."""
        return self._batches(self.testing, EVALUATION_BATCH)

    def predict_dataloader(self) -> ResidentBatches | DataLoader:
        """The test split."""
        return self._batches(self.testing, EVALUATION_BATCH)

    def _batches(
        self, dataset: ResidentDataset, batch_size: int, order: EpochOrder | None = None
    ) -> ResidentBatches | DataLoader:
        if self.route == "resident":
            return ResidentBatches(dataset, batch_size, sampler=order)
        return DataLoader(
            dataset,
            batch_size,
            sampler=order,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=with_targets,
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """A batch that lives there already is passed on untouched."""
        here = batch[0].device == device
        return batch if here else super().transfer_batch_to_device(batch, device, dataloader_idx)


def with_targets(samples: list[tuple[torch.Tensor, int]]) -> Batch:
    """(image (1, 28, 28), label) samples -> (inputs (N, 1, 28, 28), targets (N, 784))."""
    images = torch.stack([image for image, _ in samples])
    return images, images.flatten(1)
