"""MNISTDataModule: its batches, by either pipeline, against the contract's."""

from typing import Any

import numpy as np
import pytest
import torch

from core_torch.data import residency
from core_torch.files.splits import hold_out, load_split, to_unit_range
from core_torch.spec.batch_order import batch_order
from core_torch.spec.errors import ConfigError, DataFormatError
from core_torch.spec.recipe import Recipe
from lightning_impl.data import MNISTDataModule

BATCH, SEED = 100, 3
IMAGES = to_unit_range(load_split("digits").images)  # (N, 28, 28)
KEPT, HELD = hold_out(len(IMAGES), fraction=Recipe.validation_fraction, seed=SEED)


def prepared(stage: str = "fit", **options: Any) -> MNISTDataModule:
    data = MNISTDataModule(**({"batch_size": BATCH, "seed": SEED} | options))
    data.prepare_data()
    data.setup(stage)
    return data


def expected_batches(epoch: int) -> list[np.ndarray]:
    return [IMAGES[KEPT][index] for index in batch_order(len(KEPT), BATCH, seed=SEED, epoch=epoch)]


def same(batches: list[tuple[torch.Tensor, torch.Tensor]], expected: list[np.ndarray]) -> bool:
    """Whether inputs (B, 1, 28, 28) and targets (B, 784) are these images, bit for bit."""
    return len(batches) == len(expected) and all(
        np.array_equal(inputs.numpy(), images[:, None])
        and np.array_equal(targets.numpy(), images.reshape(len(images), -1))
        for (inputs, targets), images in zip(batches, expected)
    )


@pytest.mark.parametrize("options", [{"pipeline": "resident"}, {"pipeline": "dataloader"}], ids=str)
def test_batches_follow_the_contract_in_every_epoch(options: dict[str, Any]) -> None:
    loader = prepared(**options).train_dataloader()
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        assert len(loader) == len(batches)
        assert same(batches, expected_batches(epoch))
        assert not same(batches, expected_batches(epoch + 1))


def test_a_split_that_does_not_fit_is_streamed_in_the_same_batches(monkeypatch) -> None:
    monkeypatch.setattr(residency, "free_bytes", lambda device: IMAGES.size)
    with pytest.warns(UserWarning, match="does not fit on cpu as float32, it is streamed"):
        data = prepared()
    assert data.training.residency == "streamed"
    assert same(list(data.train_dataloader()), expected_batches(0))


def test_worker_processes_change_nothing() -> None:
    loader = prepared(pipeline="dataloader", num_workers=1).train_dataloader()
    assert same(list(loader), expected_batches(0))


def test_training_and_validation_images_are_disjoint_parts_of_the_training_split() -> None:
    data = prepared()
    assert np.array_equal(data.training.data[:, 0].numpy(), IMAGES[KEPT])
    assert np.array_equal(data.validation.data[:, 0].numpy(), IMAGES[HELD])
    assert np.array_equal(np.sort(np.concatenate([KEPT, HELD])), np.arange(len(IMAGES)))
    assert not np.array_equal(prepared(seed=SEED + 1).validation.data.numpy(), data.validation.data.numpy())


@pytest.mark.parametrize("pipeline", ["resident", "dataloader"])
def test_test_images_are_the_test_split_in_its_order(pipeline: str) -> None:
    data, images = prepared("test", pipeline=pipeline), to_unit_range(load_split("digits", train=False).images)
    assert same(list(data.test_dataloader()), [images])
    assert same(list(data.predict_dataloader()), [images])


def test_without_a_fraction_nothing_is_held_out() -> None:
    data = prepared(validation_fraction=0.0)
    assert data.val_dataloader() == []
    assert len(data.training) == len(IMAGES)


def test_a_batch_that_is_on_the_device_is_passed_on_itself() -> None:
    data = prepared()
    batch = next(iter(data.train_dataloader()))
    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert all(tensor.device.type == "meta" for tensor in moved)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dataset": "mnits"},
        {"pipeline": "resident "},
        {"batch_size": 0},
        {"num_workers": -1},
        {"validation_fraction": 0.9},
        {"seed": -1},
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_and_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MNISTDataModule(**wrong)


@pytest.mark.parametrize("dataset", ["mnist", "emnist-letters"])
def test_missing_files_are_looked_for_whatever_the_dataset_is_called(dataset: str, monkeypatch, tmp_path) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("requests.get", refuse)
    with pytest.raises(DataFormatError, match="no network"):
        MNISTDataModule(dataset, data_root=str(tmp_path)).prepare_data()


def test_missing_files_are_named(tmp_path) -> None:
    data = MNISTDataModule("mnist", data_root=str(tmp_path))
    with pytest.raises(DataFormatError, match="train-images"):
        data.setup("fit")
