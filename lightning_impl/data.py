"""MNISTDataModule: images for a Trainer, by either of two input pipelines with equal batches."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from core_torch.data.residency import resident_or_streamed
from core_torch.data.resident import Batch, ResidentDataset
from core_torch.files.splits import DATASETS, load_split
from core_torch.objectives.reconstruction import EVALUATION_BATCH
from core_torch.spec.batch_order import epoch_order
from core_torch.spec.errors import CheckpointError, ConfigError, check_boolean, check_choice, check_integer
from core_torch.spec.recipe import LARGEST_COUNT, Recipe
from lightning_impl.checkpoint import VerifiedLoading
from lightning_impl.options import DATA_FIELDS

PIPELINES = ("resident", "dataloader")


class EpochOrder(Sampler[int]):
    """The contract's order of `count` images, another one each epoch; Lightning calls `set_epoch`.

    Args:
        seed: of the order; None: the stored order, in every epoch.
        first_epoch: the contract's number of the Trainer's epoch 0.
        period: epochs after which the orders repeat; None: never.
    """

    def __init__(self, count: int, *, seed: int | None, first_epoch: int = 0, period: int | None = None) -> None:
        self.count, self.seed, self.first_epoch, self.period = count, seed, first_epoch, period
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the Trainer's epoch of that number."""
        self.epoch = epoch

    @property
    def number(self) -> int:
        """The contract's, of that epoch."""
        return self.first_epoch + (self.epoch % self.period if self.period else self.epoch)

    def __len__(self) -> int:
        return self.count

    def indices(self) -> np.ndarray:
        """(count,) int64, of that epoch."""
        if self.seed is None:
            return np.arange(self.count)
        return epoch_order(self.count, seed=self.seed, epoch=self.number)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices().tolist())


class ResidentBatches:
    """What a Trainer asks of a DataLoader, without one: batches gathered where the dataset lives.

    Each of several processes holds all images, since an epoch's order is of all, and gathers its share of each batch,
    from the host where the split is streamed. The Trainer puts its `state_dict` into checkpoints, so that a resumed
    epoch goes on where it was left.

    Args:
        batch_size: images per batch, of all processes together.
        sampler: names the seed and the epoch of the order; None: the stored order.
        rank: of this process; of each batch it is given every `world_size`th image.
        world_size: number of processes.
    """

    batch_sampler = None  # Lightning looks for this and for `sampler`, to tell it the epoch

    def __init__(
        self,
        dataset: ResidentDataset,
        batch_size: int,
        *,
        sampler: EpochOrder | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_integer("batch_size", batch_size, minimum=1)
        least = len(dataset) % batch_size or batch_size
        if least < world_size:
            raise ConfigError(f"batch_size: found {batch_size}, which leaves {least} images for {world_size} processes")
        self.dataset, self.batch_size = dataset, batch_size
        self.sampler = sampler or EpochOrder(len(dataset), seed=None)
        self.share = slice(rank, None, world_size)
        self.position, self.resumed = 0, dict[str, Any]()

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        # Runs once the first batch is asked for: a resumed Trainer makes its iterator before it names the epoch.
        resumed, self.resumed = self.resumed, {}
        self.position = resumed["position"] if resumed.get("epoch") == self.sampler.epoch else 0
        for batch in self.batches_from(self.position):
            self.position += 1
            yield batch

    def batches_from(self, first: int) -> Iterator[Batch]:
        """This process's share of the epoch's batches, from number `first` on."""
        if self.share.step > 1:
            return (self.dataset.gather(index[self.share].contiguous()) for index in self.indices_from(first))
        seed = self.sampler.seed
        how: dict[str, Any] = {"shuffle": False} if seed is None else {"seed": seed, "epoch": self.sampler.number}
        return islice(self.dataset.batches(self.batch_size, **how), first, None)

    def indices_from(self, first: int) -> Iterator[torch.Tensor]:
        """Of all processes' images: (B,) int64 on the device for each batch, from number `first` on."""
        order = torch.from_numpy(self.sampler.indices()).to(self.dataset.device)
        return islice(order.split(self.batch_size), first, None)

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch."""
        order = {"images": len(self.dataset), "batch_size": self.batch_size, "seed": self.sampler.seed}
        return {**order, "epoch": self.sampler.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; `CheckpointError` if that is a place in another order."""
        for name, found in self.state_dict().items():
            if name not in ("epoch", "position") and state.get(name) != found:
                raise CheckpointError(f"checkpoint: was trained with {name} {state.get(name)}, found {found}")
        self.resumed = state


class LoadedBatches(ResidentBatches):
    """The same batches by PyTorch's DataLoader, image by image; options as `ResidentBatches`.

    Args:
        num_workers: processes of the DataLoader.
    """

    def __init__(self, *arguments: Any, num_workers: int = 0, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.first = 0
        self.loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_sampler=IndexBatches(self),
            num_workers=num_workers,
            collate_fn=with_targets,
        )

    def batches_from(self, first: int) -> Iterator[Batch]:
        """As `ResidentBatches`; those before `first` are not read."""
        self.first = first
        return iter(self.loader)


class IndexBatches(Sampler[list[int]]):
    """A DataLoader's `batch_sampler`: which images make this process's share of each batch."""

    def __init__(self, batches: LoadedBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        order, size = list(self.batches.sampler), self.batches.batch_size
        for start in range(self.batches.first * size, len(order), size):
            yield order[start : start + size][self.batches.share]


class MNISTDataModule(VerifiedLoading, L.LightningDataModule):
    """Training, validation and test images; the validation images are held out of the training split.

    A batch is (inputs (N, 1, 28, 28), targets (N, 784)), float32 in [0, 1].

    Args:
        dataset: one of `DATASETS`; digits needs no files.
        data_root: folder that holds MNIST/raw; default $MNIST_ROOT, then ./data.
        batch_size: images per training step, of all processes together.
        shuffle: the training images, anew every epoch; False: in their stored order.
        pipeline: `resident`, on the device, a batch one gather, or streamed there if it does not fit (see
            `resident_or_streamed`); `dataloader`, PyTorch's, image by image.
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
        shuffle: bool = True,
        pipeline: str = "resident",
        num_workers: int = 0,
        validation_fraction: float = Recipe.validation_fraction,
        seed: int = Recipe.seed,
    ) -> None:
        super().__init__()
        check_choice("dataset", dataset, DATASETS)
        check_choice("pipeline", pipeline, PIPELINES)
        check_boolean("shuffle", shuffle)
        check_integer("num_workers", num_workers, minimum=0, maximum=LARGEST_COUNT)
        self.recipe = Recipe(batch_size=batch_size, validation_fraction=validation_fraction, seed=seed)
        self.dataset, self.data_root, self.shuffle = dataset, data_root, shuffle
        self.pipeline, self.num_workers = pipeline, num_workers
        self.batches: ResidentBatches | None = None
        self.resumed: dict[str, Any] = {}
        self.save_hyperparameters(ignore=DATA_FIELDS)  # the module has them

    def prepare_data(self) -> None:
        """Download what is missing; in one process only."""
        for train in (True, False):
            load_split(self.dataset, train=train, root=self.data_root)

    def setup(self, stage: str) -> None:
        """Read what the stage needs."""
        if stage in ("fit", "validate"):
            everything = self._read(train=True)
            fraction, seed = self.recipe.validation_fraction, self.recipe.seed
            self.training, self.validation = everything.hold_out(fraction, seed=seed)
        else:
            self.testing = self._read(train=False)

    def _read(self, *, train: bool) -> ResidentDataset:
        split = load_split(self.dataset, train=train, root=self.data_root, download=False)
        if self.pipeline == "dataloader":
            return ResidentDataset(split)
        return resident_or_streamed(split, device=self.trainer.strategy.root_device if self.trainer else "cpu")

    def train_dataloader(self) -> ResidentBatches:
        """In the contract's order for seed and epoch; the last batch may be shorter."""
        period = getattr(self.trainer.lightning_module, "order_period", None) if self.trainer else None
        seed = self.recipe.seed if self.shuffle else None
        order = EpochOrder(len(self.training), seed=seed, period=period)
        self.batches = self._batches(self.training, self.recipe.batch_size, order)
        if self.resumed:
            self.batches.load_state_dict(self.resumed)
            self.resumed = {}
        return self.batches

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch. The Trainer's own copy is lost where a scheduler asks for the number of steps."""
        return self.batches.state_dict() if self.batches else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next training batches go on from there."""
        self.resumed = state

    def val_dataloader(self) -> ResidentBatches | list[Any]:
        """The held-out images, or nothing where the fraction is 0."""
        return self._judging(self.validation) if len(self.validation) else []

    def test_dataloader(self) -> ResidentBatches:
        """The test split."""
        return self._judging(self.testing)

    def predict_dataloader(self) -> ResidentBatches:
        """The test split, of which each of several processes has its share."""
        return self._judging(self.testing)

    def _judging(self, dataset: ResidentDataset) -> ResidentBatches:
        """In batches of `EVALUATION_BATCH` images, or as many fewer as leave each process one of the last batch."""
        least = self.trainer.world_size if self.trainer else 1
        sizes = (size for size in range(EVALUATION_BATCH, 0, -1) if (len(dataset) % size or size) >= least)
        return self._batches(dataset, next(sizes, EVALUATION_BATCH))

    def _batches(self, dataset: ResidentDataset, batch_size: int, order: EpochOrder | None = None) -> ResidentBatches:
        place = {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size} if self.trainer else {}
        if self.pipeline == "resident":
            return ResidentBatches(dataset, batch_size, sampler=order, **place)
        return LoadedBatches(dataset, batch_size, sampler=order, num_workers=self.num_workers, **place)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """A batch that lives there already is passed on untouched."""
        here = batch[0].device == device
        return batch if here else super().transfer_batch_to_device(batch, device, dataloader_idx)


def with_targets(samples: list[tuple[torch.Tensor, int]]) -> Batch:
    """(image (1, 28, 28), label) samples -> (inputs (N, 1, 28, 28), targets (N, 784))."""
    images = torch.stack([image for image, _ in samples])
    return images, images.flatten(1)
