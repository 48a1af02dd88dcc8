"""The one shuffle: a permutation that depends on count, seed and epoch, and on no library's version."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_torch.spec.batch_order import batch_order, epoch_order
from core_torch.spec.errors import ConfigError


@given(
    count=st.integers(1, 500),
    batch_size=st.integers(1, 600),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 99),
)
def test_every_index_comes_once_in_full_batches_and_a_short_last_one(count, batch_size, seed, epoch):
    batches = list(batch_order(count, batch_size, seed=seed, epoch=epoch))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(count))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches[-1]) == (count % batch_size or batch_size)
    assert all(batch.dtype == np.int64 for batch in batches)


@given(count=st.integers(1, 500), batch_size=st.integers(1, 600))
def test_dropping_the_last_batch_drops_only_a_short_one(count, batch_size):
    kept = list(batch_order(count, batch_size, drop_last=True))
    whole = [batch for batch in batch_order(count, batch_size) if len(batch) == batch_size]
    assert len(kept) == count // batch_size
    for left, right in zip(kept, whole, strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_order_depends_on_each_argument_and_on_nothing_else():
    order = epoch_order(100, seed=1, epoch=2)
    np.random.seed(5)  # the global generator plays no part
    np.testing.assert_array_equal(order, epoch_order(100, seed=1, epoch=2))
    assert not np.array_equal(order, epoch_order(100, seed=2, epoch=2))
    assert not np.array_equal(order, epoch_order(100, seed=1, epoch=3))
    assert not np.array_equal(order, epoch_order(100, seed=2, epoch=1))
    assert not np.array_equal(order, epoch_order(101, seed=1, epoch=2)[:100])


def test_batches_follow_the_epochs_order_whatever_their_size():
    order = epoch_order(100, seed=4, epoch=7)
    for batch_size in (1, 7, 100, 1000):
        batches = batch_order(100, batch_size, seed=4, epoch=7)
        np.testing.assert_array_equal(np.concatenate(list(batches)), order)


def test_without_shuffling_the_indices_count_up():
    batches = list(batch_order(5, 2, shuffle=False, seed=9, epoch=9))
    assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert batches[0].dtype == np.int64


def test_the_shuffle_is_the_published_one():
    """A NumPy that shuffled otherwise would break every stored result: these numbers never change."""
    order = epoch_order(60_000, seed=0, epoch=0)
    assert order[:8].tolist() == [10604, 23209, 57788, 54990, 9876, 40244, 13247, 19859]
    assert zlib.crc32(order.astype("<i8").tobytes()) == 2772150419
    assert epoch_order(1437, seed=1, epoch=2)[:5].tolist() == [1006, 1249, 1412, 664, 1402]


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("count", "batch_size") for value in (0, -1, 1.0, "8", True, None)]
    + [(name, value) for name in ("seed", "epoch") for value in (-1, 0.5, "0", False, None)],
)
def test_an_argument_outside_its_range_is_named_at_once(name, value):
    """Before the first batch is asked for."""
    arguments = {"count": 10, "batch_size": 2, "seed": 0, "epoch": 0} | {name: value}
    with pytest.raises(ConfigError, match=f"^{name}: found {value!r}, allowed: an integer"):
        batch_order(arguments.pop("count"), arguments.pop("batch_size"), **arguments)
