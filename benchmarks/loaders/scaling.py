"""The resident dataset, the streamed one, and training on it, over datasets of any size: see `suites.SCALINGS`."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from benchmarks.loaders.loading import LoadingTrial
from benchmarks.loaders.pytorch import compiled
from benchmarks.ports.timed_port import Case
from core_torch.data.resident import Batch, ResidentDataset
from core_torch.data.streaming import StreamedDataset
from core_torch.files.splits import Split
from core_torch.models.autoencoder import build_autoencoder
from core_torch.spec.errors import check_choice
from core_torch.spec.recipe import Recipe
from core_torch.training.loop import build_criterion, build_optimizer, train_epoch

VARIANTS = ("epoch start", "resident", "compiled", "streamed", "training")


def prepare(case: Case, split: Split, recipe: Recipe) -> LoadingTrial:
    """The trial of a case; whatever it times, the images that it hands out are proved."""
    check_choice("variant", case.variant, VARIANTS)
    kinds: dict[str, Callable[..., ResidentDataset]] = {"streamed": StreamedDataset, "compiled": compiled}
    kind = kinds.get(case.variant, partial(ResidentDataset, residency="uint8"))
    dataset: ResidentDataset = kind(split, device=case.device)
    model = build_autoencoder(case.architecture, seed=recipe.seed).to(case.device)
    criterion, optimizer = build_criterion(model, recipe), build_optimizer(model, recipe)

    def batches(epoch: int) -> Iterator[Batch]:
        return dataset.batches(case.batch_size, seed=recipe.seed, epoch=epoch)

    def rows(epoch: int) -> Iterator[np.ndarray]:
        return (targets.cpu().numpy() for _, targets in batches(epoch))

    def run(epoch: int) -> int:
        found = batches(epoch)
        if case.variant == "training":
            train_epoch(model, found, criterion=criterion, optimizer=optimizer)
        elif case.variant != "epoch start":
            for _ in found:
                pass
        if case.device.startswith("cuda"):
            torch.cuda.synchronize()
        return len(dataset)

    return LoadingTrial(rows, run)
