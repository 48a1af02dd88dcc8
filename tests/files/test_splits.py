"""Every dataset gives the pixels and labels it promises, and every framework the same range."""

import runpy
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_torch.files.splits import (
    DATASETS,
    DIGITS_FILE,
    DIGITS_WHITE,
    SYNTHETIC_INK,
    Split,
    enlarge,
    hold_out,
    load_split,
    synthetic,
    to_unit_range,
)
from core_torch.spec.errors import ConfigError

MAKE_DIGITS = Path(__file__).with_name("make_digits.py")
HALF_A_CODE = 0.5 + 1e-9


@pytest.fixture(scope="module")
def small_digits():
    """(1797, 8, 8) values 0..16 and their labels, from scikit-learn itself."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits come from scikit-learn")
    digits = datasets.load_digits()
    return digits.images, digits.target


def interpolated(small: np.ndarray) -> np.ndarray:
    """(N, 8, 8) -> (N, 28, 28) codes in float64, bilinear between pixel centres, constant beyond the last."""
    place = (np.arange(28) + 0.5) * 8 / 28 - 0.5
    rows = np.apply_along_axis(lambda line: np.interp(place, np.arange(8), line), 1, small)
    return np.apply_along_axis(lambda line: np.interp(place, np.arange(8), line), 2, rows) * 255 / DIGITS_WHITE


def test_the_digits_are_scikit_learns_enlarged(small_digits):
    images, labels = small_digits
    is_test = np.arange(1797) % 5 == 0
    for train, chosen in ((True, ~is_test), (False, is_test)):
        split = load_split("digits", train=train)
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert np.abs(split.images - interpolated(images[chosen])).max() <= HALF_A_CODE
        np.testing.assert_array_equal(split.labels, labels[chosen])


def test_an_enlargement_by_nearest_neighbour_would_not_pass(small_digits):
    images, chosen = small_digits[0][:20], (np.arange(28) * 8) // 28
    nearest = images[:, chosen][:, :, chosen] * 255 / DIGITS_WHITE
    assert np.abs(nearest - interpolated(images)).max() > 50


def test_enlarging_keeps_black_and_white():
    flat = np.stack([np.zeros((8, 8)), np.full((8, 8), DIGITS_WHITE)])
    np.testing.assert_array_equal(np.unique(enlarge(flat)[0]), [0])
    np.testing.assert_array_equal(np.unique(enlarge(flat)[1]), [255])


@pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="zlib-ng compresses to other bytes")
def test_the_embedded_file_is_what_its_script_writes(tmp_path, small_digits):
    runpy.run_path(str(MAKE_DIGITS))["make_digits"](tmp_path / "digits.npz")
    assert (tmp_path / "digits.npz").read_bytes() == DIGITS_FILE.read_bytes()


def test_the_embedded_file_holds_the_two_arrays_and_nothing_else(small_digits):
    with zipfile.ZipFile(DIGITS_FILE) as archive:
        assert archive.namelist() == ["images.npy", "labels.npy"]
    with np.load(DIGITS_FILE, allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["images"], small_digits[0])
        np.testing.assert_array_equal(stored["labels"], small_digits[1])


def test_training_and_test_digits_are_disjoint_and_together_1797():
    train, test = ({image.tobytes() for image in load_split(train=train).images} for train in (True, False))
    assert (len(train), len(test)) == (1437, 360)
    assert not train & test
    assert load_split().name == "digits"


@pytest.mark.mnist
@pytest.mark.parametrize(
    ("train", "per_class", "mean"),
    [
        (True, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 0.1307),
        (False, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], 0.1325),
    ],
)
def test_mnist_is_complete(mnist_root, train, per_class, mean):
    split = load_split("mnist", train=train, root=mnist_root, download=False)
    assert split.images.shape == (sum(per_class), 28, 28)
    assert split.images.dtype == np.uint8
    assert split.labels.dtype == np.int64
    np.testing.assert_array_equal(np.bincount(split.labels), per_class)
    assert split.images.mean() / 255 == pytest.approx(mean, abs=5e-5)


CODES = np.arange(256, dtype=np.uint8)
# The quotient in float64, rounded once to float32, is the correctly rounded float32 quotient.
QUOTIENTS = np.array([code / 255 for code in range(256)]).astype(np.float32)


def test_pixels_are_codes_divided_by_255_to_the_last_bit():
    unit = to_unit_range(CODES)
    assert unit.dtype == np.float32
    assert unit.tobytes() == QUOTIENTS.tobytes()
    assert (unit[0], unit[-1]) == (0, 1)
    assert to_unit_range(CODES, np.float64).tobytes() == (np.arange(256) / 255).tobytes()


def test_multiplying_by_a_255th_differs_for_126_codes():
    assert np.count_nonzero(CODES.astype(np.float32) * np.float32(1 / 255) != QUOTIENTS) == 126


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_synthetic_images_have_any_size_and_depend_on_the_seed_alone(count):
    split = synthetic(count, seed=3)
    assert split.images.shape == (count, 28, 28)
    assert split.images.dtype == np.uint8
    assert split.labels.dtype == np.int64
    assert set(split.labels) <= set(range(10))
    again, other = synthetic(count, seed=3), synthetic(count, seed=4)
    assert split.images.tobytes() == again.images.tobytes()
    assert split.labels.tobytes() == again.labels.tobytes()
    assert split.images.tobytes() != other.images.tobytes()


def test_synthetic_images_are_as_sparse_as_mnist_and_full_sized_by_name():
    assert np.mean(synthetic(1000).images > 0) == pytest.approx(SYNTHETIC_INK, abs=0.002)
    assert len(load_split("synthetic", train=False)) == 10_000
    assert synthetic(5, seed=0).images.tobytes() != synthetic(5, seed=1).images.tobytes()


@pytest.mark.parametrize("count", [0, -1, 2.5, True])
def test_a_synthetic_split_needs_a_positive_count(count):
    with pytest.raises(ConfigError, match="count: found"):
        synthetic(count)


def test_an_unknown_dataset_is_named_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"dataset: found 'mnits' \(did you mean mnist\?\)") as caught:
        load_split("mnits")
    assert all(name in str(caught.value) for name in DATASETS)


@given(
    count=st.integers(2, 3000),
    fraction=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 2**32 - 1),
)
def test_holding_out_parts_every_index_once(count, fraction, seed):
    kept, held = hold_out(count, fraction=fraction, seed=seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(count))
    assert np.all(np.diff(kept) > 0) and np.all(np.diff(held) > 0)
    assert abs(len(held) - count * fraction) <= 1
    assert len(kept) > 0
    assert (len(held) > 0) == (fraction > 0)


def test_holding_out_follows_its_seed():
    held = hold_out(1000, fraction=0.1, seed=0)[1]
    np.testing.assert_array_equal(held, hold_out(1000, fraction=0.1, seed=0)[1])
    assert not np.array_equal(held, hold_out(1000, fraction=0.1, seed=1)[1])
    assert held[-1] - held[0] > 500  # drawn from everywhere, not a block


@pytest.mark.parametrize("fraction", [-0.1, 1, float("nan"), float("inf")])
def test_a_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(ConfigError, match="fraction: found"):
        hold_out(10, fraction=fraction, seed=0)


def test_a_label_too_few_is_refused():
    with pytest.raises(ConfigError, match="labels: found 2, allowed: 3, one per image"):
        Split(np.zeros((3, 28, 28), np.uint8), np.zeros(2, np.int64), "three")


def test_a_split_repeats_and_picks_its_images_with_their_labels():
    split = Split(np.arange(3, dtype=np.uint8).reshape(3, 1, 1), np.array([10, 11, 12]), "three")
    repeated = split.at_least(8)
    np.testing.assert_array_equal(repeated.images.ravel(), [0, 1, 2, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(repeated.labels, repeated.images.ravel() + 10)
    assert (len(repeated), repeated.name) == (8, "three repeated to 8")
    taken = split.take(np.array([2, 0]))
    np.testing.assert_array_equal(taken.labels, [12, 10])
    np.testing.assert_array_equal(taken.images.ravel(), [2, 0])
