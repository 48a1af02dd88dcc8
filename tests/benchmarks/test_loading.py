"""Every loader delivers the same images, shuffled, once each; and one that does not would be caught."""

import numpy as np
import pytest

from benchmarks.loaders import loading
from benchmarks.loaders.loading import LOADERS, UNPINNED_LOADERS, LoadingTrial, checksums, wrong_images
from benchmarks.loaders.pytorch import prepare
from benchmarks.ports.timed_port import Case
from core_torch.files.splits import Split, to_unit_range
from core_torch.spec.batch_order import epoch_order
from core_torch.spec.recipe import Recipe

COUNT = 80  # images: two full batches and a short one
BATCH_SIZE = 32
TORCH_ROUTES = [variant for variant in LOADERS if LOADERS[variant].module == "benchmarks.loaders.pytorch"]


@pytest.fixture(scope="module")
def split(digits: Split) -> Split:
    """Real digits, and in the last of them every code that a pixel can have."""
    images = digits.images[:COUNT].copy()
    images[-1].flat[:256] = np.arange(256)
    return Split(images, digits.labels[:COUNT], "digits")


def trial_of(variant: str, split: Split) -> LoadingTrial:
    case = Case(framework="loading", variant=variant, batch_size=BATCH_SIZE)
    return prepare(case, split, Recipe(batch_size=BATCH_SIZE))


@pytest.mark.parametrize("variant", TORCH_ROUTES)
def test_a_loader_delivers_every_image_once_in_another_order(variant, split):
    trial = trial_of(variant, split)
    assert wrong_images(trial.checksums(np.array(0)), split) == 0
    assert trial.epoch(1) == COUNT


@pytest.mark.parametrize("variant", TORCH_ROUTES)
def test_its_batches_are_float32_rows_and_the_last_is_short(variant, split):
    batches = list(trial_of(variant, split).rows(0))
    assert [batch.shape for batch in batches] == [(32, 784), (32, 784), (16, 784)]
    assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}


@pytest.mark.parametrize("variant", TORCH_ROUTES)
def test_each_epoch_has_its_own_order(variant, split):
    trial = trial_of(variant, split)
    assert not np.array_equal(trial.checksums(np.array(0)), trial.checksums(np.array(1)))


def test_the_baseline_is_a_loader_and_workers_need_more_than_one_core():
    assert loading.BASELINE in LOADERS
    assert {variant for variant in LOADERS if "workers" in variant} == UNPINNED_LOADERS


def delivered(split: Split) -> np.ndarray:
    """What a right loader delivers: (N, 784) float32, shuffled."""
    return to_unit_range(split.images)[epoch_order(COUNT, seed=0, epoch=0)].reshape(COUNT, -1)


def dropped(rows: np.ndarray) -> np.ndarray:
    return np.delete(rows, 17, axis=0)


def last_batch_dropped(rows: np.ndarray) -> np.ndarray:
    return rows[: COUNT - COUNT % BATCH_SIZE]


def delivered_twice(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, rows[17:18]])


def one_in_place_of_another(rows: np.ndarray) -> np.ndarray:
    rows[17] = rows[18]
    return rows


def one_pixel_one_code_brighter(rows: np.ndarray) -> np.ndarray:
    rows[17, 400] += np.float32(1 / 255) * (1 if rows[17, 400] < 1 else -1)
    return rows


def one_pixel_one_rounding_off(rows: np.ndarray) -> np.ndarray:
    rows[17, 400] = np.nextafter(rows[17, 400], np.float32(2))
    return rows


def one_image_transposed(rows: np.ndarray) -> np.ndarray:
    rows[17] = rows[17].reshape(28, 28).T.ravel()
    return rows


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        (dropped, 1),
        (last_batch_dropped, COUNT % BATCH_SIZE),
        (delivered_twice, 1),
        (one_in_place_of_another, 1),
        (one_pixel_one_code_brighter, 1),
        (one_pixel_one_rounding_off, 1),
        (one_image_transposed, 1),
        (lambda rows: rows[:0], COUNT),
    ],
)
def test_every_wrong_image_is_counted(split, fault, wrong):
    rows = delivered(split)
    assert wrong_images(checksums(rows), split) == 0
    assert wrong_images(checksums(fault(rows)), split) == wrong


def test_images_in_the_order_stored_are_all_wrong(split):
    assert wrong_images(checksums(to_unit_range(split.images).reshape(COUNT, -1)), split) == COUNT


def test_multiplied_by_a_255th_is_not_divided_by_255(split):
    multiplied = split.images.reshape(COUNT, -1) * np.float32(1 / 255)
    order = epoch_order(COUNT, seed=0, epoch=0)
    assert np.allclose(multiplied, to_unit_range(split.images).reshape(COUNT, -1))
    assert wrong_images(checksums(multiplied[order]), split) == COUNT


def test_scaled_to_another_range_is_wrong(split):
    assert wrong_images(checksums(delivered(split) * 2 - 1), split) == COUNT


def test_images_that_occur_twice_are_expected_twice(split):
    repeated = split.at_least(2 * COUNT)
    rows = np.concatenate([delivered(split), delivered(split)])
    assert wrong_images(checksums(rows), repeated) == 0
    rows[COUNT] = rows[COUNT + 1]
    assert wrong_images(checksums(rows), repeated) == 1
