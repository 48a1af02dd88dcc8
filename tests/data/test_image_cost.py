"""An epoch costs a call and an object of Python for each batch, none for each image, however its batches are made."""

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from core_torch.data.compiled import CompiledDataset
from core_torch.data.resident import ResidentDataset
from core_torch.data.storage import GATHER_SIZE
from core_torch.data.streaming import StreamedDataset
from core_torch.files.splits import Split, synthetic
from core_torch.models.autoencoder import build_autoencoder
from core_torch.spec.architecture import FullyConnected
from core_torch.spec.recipe import Recipe
from core_torch.training.ensemble import Ensemble

BATCHES, FEW, MANY = 3, GATHER_SIZE, 4 * GATHER_SIZE  # images of a batch, as many as are gathered at once or more
CHANCE = 500  # objects by which two epochs of as many batches may differ
Epoch = Callable[[], object]


def drain(batches: Iterable[Any]) -> None:
    """Without a call that the counts would see."""
    deque(batches, maxlen=0)


def by(make: Callable[..., ResidentDataset], **options: Any) -> Callable[[Split, int], Epoch]:
    def prepare(split: Split, size: int) -> Epoch:
        dataset = make(split, **options)
        return lambda: drain(dataset.batches(size))

    return prepare


def noisy(split: Split) -> ResidentDataset:
    """Data beside clean targets."""
    dataset = ResidentDataset(split)
    dataset.data = 1 - dataset.data
    return dataset


def compiled(split: Split, size: int) -> Epoch:
    pytest.importorskip("numba")
    return by(CompiledDataset)(split, size)


def streamed(split: Split, size: int) -> Epoch:
    """In a chunk a batch; without its thread, whose calls are not counted."""
    dataset = StreamedDataset(split, chunk_bytes=size * split.images[0].size)
    dataset.in_background = False
    return lambda: drain(dataset.batches(size))


def ensemble(split: Split, size: int) -> Epoch:
    architecture = FullyConnected(widths=(784, 2))
    recipes = [Recipe(epochs=1, batch_size=size, validation_fraction=0.0, seed=seed) for seed in (0, 1)]
    models, dataset = [build_autoencoder(architecture, seed=seed) for seed in (0, 1)], ResidentDataset(split)
    together = Ensemble(models, dataset, recipes, steps=BATCHES)
    return lambda: together.epoch(torch.stack([torch.randperm(len(split)) for _ in models]), size)


def lightning(name: str, split: Split, size: int, **place: int) -> Epoch:
    """Of these batches of the Lightning port."""
    pytest.importorskip("lightning")
    from lightning_impl import data, graphed

    kinds = {"resident": data.ResidentBatches, "chunks": graphed.IndexChunks, "loaded": data.LoadedBatches}
    order = data.EpochOrder(len(split), seed=0)
    batches = kinds[name](ResidentDataset(split), size, sampler=order, **place)
    return lambda: drain(batches)


MAKERS: dict[str, Callable[[Split, int], Epoch]] = {
    "resident": by(ResidentDataset),
    "resident bytes": by(ResidentDataset, residency="uint8"),
    "noisy": by(noisy),
    "compiled": compiled,
    "streamed": streamed,
    "ensemble": ensemble,
    "Lightning's": partial(lightning, "resident"),
    "Lightning's, a process's share": partial(lightning, "resident", rank=1, world_size=2),
    "Lightning's chunks": partial(lightning, "chunks"),
}


def cost_of(epoch: Epoch) -> tuple[int, int]:
    """Calls made here while it runs, and the objects that are alive at one time beyond those before.

    A list that C makes of a tensor is no call for each element, but it is an object for each.
    """
    calls = most = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls, most
        calls += event in ("call", "c_call")
        most = max(most, sys.getallocatedblocks())

    gc.collect()
    gc.disable()
    before = sys.getallocatedblocks()
    sys.setprofile(count)
    try:
        epoch()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls, most - before


def growth(make: Callable[[Split, int], Epoch], *, sizes: tuple[int, int] = (FEW, MANY)) -> tuple[int, int]:
    """By how many calls and objects an epoch of large batches costs more than one of as many small ones."""
    costs = []
    for size in sizes:
        epoch = make(synthetic(BATCHES * size), size)
        epoch()  # whatever is done once is done
        costs.append(cost_of(epoch))
    (calls, objects), (more_calls, more_objects) = costs
    return more_calls - calls, more_objects - objects


@pytest.mark.parametrize("name", MAKERS)
def test_no_image_costs_a_call_or_an_object(name):
    calls, objects = growth(MAKERS[name])
    assert calls == 0
    assert objects < CHANCE


class Listed(ResidentDataset):
    """Its order passes through a list, without a call for any image."""

    def _deliver(self, order, batch_size):
        return super()._deliver(torch.tensor(order.tolist()), batch_size)


class Converted(ResidentDataset):
    """So does each batch's."""

    def gather(self, index):
        return super().gather(torch.tensor(list(index.numpy())))


@pytest.mark.parametrize(("kind", "least"), [(Listed, BATCHES * (MANY - FEW)), (Converted, MANY - FEW)])
def test_a_list_of_the_images_numbers_is_seen_though_it_costs_no_call(kind, least):
    calls, objects = growth(by(kind))
    assert calls == 0
    assert objects > 0.8 * least > CHANCE


def listed_chunks(split: Split, size: int) -> Epoch:
    order = np.random.default_rng(0).permutation(len(split))
    return lambda: drain(torch.tensor(list(iter(order.tolist()))).split(size))


def test_so_is_the_list_of_a_sampler():
    assert growth(listed_chunks)[1] > 0.8 * BATCHES * (MANY - FEW)


def one_by_one(split: Split, size: int) -> Epoch:
    dataset = ResidentDataset(split)
    return lambda: drain(map(dataset.__getitem__, range(len(split))))


@pytest.mark.parametrize("make", [one_by_one, partial(lightning, "loaded")])
def test_a_loop_over_images_is_seen_by_its_calls(make):
    assert growth(make, sizes=(10, 40))[0] > BATCHES * 30
