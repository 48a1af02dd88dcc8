"""The compiled loop delivers what the plain gather does, bit for bit, and reads no memory that is not the images'."""

import numpy as np
import pytest
import torch

from core_torch.contract.errors import ConfigError
from core_torch.contract.pixels import Split
from core_torch.data import compiled
from core_torch.data.compiled import AHEAD, CompiledDataset
from core_torch.data.resident import ResidentDataset

pytest.importorskip("numba")
COUNT = 70


@pytest.fixture(scope="module")
def split() -> Split:
    """Every code that a pixel can have, several times."""
    codes = np.random.default_rng(0).permutation(np.arange(COUNT * 784) % 256).astype(np.uint8)
    return Split(codes.reshape(COUNT, 28, 28), np.arange(COUNT) % 10, "codes")


@pytest.mark.parametrize("batch_size", [1, AHEAD, AHEAD + 1, 32, COUNT])
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


def test_without_numba_it_says_so_and_gathers_as_ever(split, monkeypatch):
    monkeypatch.setattr(compiled, "find_spec", lambda name: None)
    monkeypatch.setattr(compiled, "gather_loop", lambda: pytest.fail("compiled"))
    with pytest.warns(UserWarning, match="numba is not installed"):
        dataset = CompiledDataset(split)
    assert not dataset.is_compiled
    assert torch.equal(next(dataset.batches(8))[0], next(ResidentDataset(split).batches(8))[0])


def test_multiplied_by_the_reciprocal_it_would_be_caught(split):
    codes = torch.tensor(split.images).flatten(1)
    assert not torch.equal(codes * np.float32(1 / 255), CompiledDataset(split).gather(torch.arange(COUNT))[1])
