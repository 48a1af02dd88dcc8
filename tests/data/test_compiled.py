"""The compiled loop delivers what the plain gather does, bit for bit, and reads no memory that is not the images'."""

import numpy as np
import pytest
import torch

from benchmarks.loaders import pytorch as loaders_torch
from benchmarks.loaders import scaling as route_growth
from benchmarks.ports.timed_port import Case
from core_torch.data import compiled
from core_torch.data.compiled import PREFETCH_DISTANCE, CompiledDataset
from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import Split
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import Recipe

pytest.importorskip("numba")
COUNT = 70


@pytest.fixture(scope="module")
def split() -> Split:
    """Every code that a pixel can have, several times."""
    codes = np.random.default_rng(0).permutation(np.arange(COUNT * 784) % 256).astype(np.uint8)
    return Split(codes.reshape(COUNT, 28, 28), np.arange(COUNT) % 10, "codes")


@pytest.mark.parametrize("batch_size", [1, PREFETCH_DISTANCE, PREFETCH_DISTANCE + 1, 32, COUNT])
def test_it_delivers_what_the_plain_gather_does(split, batch_size):
    plain, quick = ResidentDataset(split), CompiledDataset(split)
    assert quick.is_compiled
    pairs = zip(plain.batches(batch_size, seed=3), quick.batches(batch_size, seed=3), strict=True)
    for (inputs, targets), (own_inputs, own_targets) in pairs:
        assert torch.equal(inputs, own_inputs)
        assert torch.equal(targets, own_targets)
        assert own_inputs.shape == inputs.shape
        assert own_inputs.dtype == torch.float32


def test_a_part_of_it_is_compiled_too(split):
    kept, held = CompiledDataset(split).hold_out(0.3, seed=1)
    assert (type(kept), kept.is_compiled) == (CompiledDataset, True)
    plain = ResidentDataset(split).hold_out(0.3, seed=1)
    for own, other in zip((kept, held), plain):
        assert torch.equal(next(own.batches(8))[0], next(other.batches(8))[0])


@pytest.mark.parametrize("wrong", [-1, COUNT, 2**62, -(2**62)])
@pytest.mark.parametrize("place", [0, 3, 20])
def test_an_index_out_of_range_is_refused(split, wrong, place):
    index = torch.arange(30)
    index[place] = wrong
    with pytest.raises(IndexError, match="out of range"):
        CompiledDataset(split).gather(index)


@pytest.mark.parametrize(
    "index",
    [torch.tensor([0.9, 5.7]), torch.ones(COUNT, dtype=torch.bool), torch.ones(3, dtype=torch.uint8), torch.ones(2, 2)],
    ids=["fractions", "mask", "bytes", "matrix"],
)
def test_what_the_plain_gather_refuses_is_refused(split, index):
    for dataset in (ResidentDataset(split), CompiledDataset(split)):
        with pytest.raises((RuntimeError, IndexError)):
            dataset.gather(index)


def test_no_index_is_an_empty_batch(split):
    inputs, targets = CompiledDataset(split).gather(torch.arange(0))
    assert (inputs.shape, targets.shape) == ((0, 1, 28, 28), (0, 784))


def test_batches_are_copies(split):
    dataset = CompiledDataset(split)
    before = dataset.data.clone()
    next(dataset.batches(8))[0].zero_()
    assert torch.equal(dataset.data, before)


@pytest.mark.parametrize("options", [{"residency": "float32"}, {"device": "meta"}])
def test_what_it_cannot_compile_is_refused(split, options):
    with pytest.raises(ConfigError, match="uint8 on cpu"):
        CompiledDataset(split, **options)


@pytest.fixture
def no_numba(monkeypatch):
    def fail():
        raise ImportError("No module named 'numba'")

    monkeypatch.setattr(compiled, "gather_loop", fail)


def test_without_numba_it_says_so_and_gathers_as_ever(split, no_numba):
    with pytest.warns(UserWarning, match="by PyTorch: No module named 'numba'"):
        dataset = CompiledDataset(split)
    assert not dataset.is_compiled
    assert torch.equal(next(dataset.batches(8))[0], next(ResidentDataset(split).batches(8))[0])


@pytest.mark.filterwarnings("ignore:batches are gathered")
def test_a_benchmark_does_not_time_the_fallback_by_its_name(split, no_numba):
    for prepare, route in ((loaders_torch.prepare, "fast-mnist-compiled"), (route_growth.prepare, "compiled")):
        with pytest.raises(ConfigError, match="compiled: found no numba"):
            prepare(Case(framework="loading", variant=route, batch_size=8), split, Recipe())


def test_whatever_the_indices_and_the_images_lie_in_is_gathered(split):
    dataset, plain = CompiledDataset(split), ResidentDataset(split)
    index = torch.arange(20)
    for one in (index.int(), index[::2], index.flip(0)):
        assert torch.equal(dataset.gather(one)[0], plain.gather(one)[0])
    for each in (dataset, plain):
        each.data = each.data[::2]
        each.targets = each.data.flatten(1)
    assert torch.equal(dataset.gather(index)[0], plain.gather(index)[0])


def test_targets_of_its_own_are_gathered_too(split):
    dataset = CompiledDataset(split)
    dataset.targets = torch.zeros_like(dataset.targets)
    inputs, targets = dataset.gather(torch.arange(5))
    assert not targets.any()
    assert torch.equal(inputs, ResidentDataset(split).gather(torch.arange(5))[0])


def test_the_default_type_of_torch_makes_no_difference(split):
    torch.set_default_dtype(torch.float64)
    try:
        assert CompiledDataset(split).gather(torch.arange(5))[0].dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_multiplied_by_the_reciprocal_it_would_be_caught(split):
    codes = torch.tensor(split.images).flatten(1)
    assert not torch.equal(codes * np.float32(1 / 255), CompiledDataset(split).gather(torch.arange(COUNT))[1])
