"""Weights come back as they were saved, and no damage to the file passes unnoticed."""

import os
from pathlib import Path

import numpy as np
import pytest

from core_torch.files.atomic import write_atomically
from core_torch.files.weights import MANIFEST_NAME, WEIGHTS_NAME, load_weights, save_weights
from core_torch.spec.architecture import FullyConnected, parameter_shapes
from core_torch.spec.errors import CheckpointError
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.weight_names import check_names_and_shapes

MODEL = FullyConnected(widths=(5, 3))


@pytest.fixture
def saved(tmp_path) -> Path:
    save_weights(tmp_path, initial_weights(MODEL), metadata={"recipe": {"epochs": 3}})
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_weights(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_weights_come_back_bit_for_bit_with_their_manifest(saved):
    weights, manifest = load_weights(saved)
    expected = initial_weights(MODEL)
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert weights[name].dtype == value.dtype
        np.testing.assert_array_equal(weights[name], value)
    assert manifest["recipe"] == {"epochs": 3}
    assert sorted(path.name for path in saved.iterdir()) == sorted([MANIFEST_NAME, WEIGHTS_NAME])


def test_a_transposed_view_is_saved_as_it_reads_and_not_as_it_lies_in_memory(tmp_path):
    """safetensors alone would write the memory: the right shape with the wrong values."""
    from safetensors.numpy import load, save

    view = np.arange(6, dtype=np.float32).reshape(2, 3).T
    save_weights(tmp_path, {"weight": view}, metadata={})
    np.testing.assert_array_equal(load_weights(tmp_path)[0]["weight"], view)
    assert not np.array_equal(load(save({"weight": view}))["weight"], view)


def test_a_flipped_bit_anywhere_in_the_weights_is_noticed(saved):
    path = saved / WEIGHTS_NAME
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ (1 << position % 8)]) + content[position + 1 :]
        )
        assert "found sha256" in refusal(saved)


def test_a_file_of_another_length_is_noticed(saved):
    content = (saved / WEIGHTS_NAME).read_bytes()
    for other in (b"", content[:-1], content + b"\0"):
        (saved / WEIGHTS_NAME).write_bytes(other)
        assert "found sha256" in refusal(saved)


def test_a_manifest_cut_anywhere_is_refused(saved):
    content = (saved / MANIFEST_NAME).read_bytes()
    for length in range(len(content)):
        (saved / MANIFEST_NAME).write_bytes(content[:length])
        assert MANIFEST_NAME in refusal(saved)


@pytest.mark.parametrize(
    "manifest",
    [
        "[]",
        "null",
        "3",
        "{}",
        '{"schema": 2}',
        '{"schema": "1"}',
        '{"schema": 1}',
        "\x00",
        "not JSON",
        '{"schema": 1, "schema": 1}',
        '{"schema": 1, "model": "\\ud800"}',
        pytest.param("[" * 100_000, id="nested too deeply"),
    ],
)
def test_what_is_no_manifest_is_refused(saved, manifest):
    (saved / MANIFEST_NAME).write_text(manifest)
    refusal(saved)


def test_a_folder_without_either_file_is_refused(saved):
    os.rename(saved / WEIGHTS_NAME, saved / "elsewhere")
    assert WEIGHTS_NAME in refusal(saved)
    (saved / MANIFEST_NAME).unlink()
    assert MANIFEST_NAME in refusal(saved)
    assert "missing" in refusal(saved / "missing")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_never_saved(tmp_path, value):
    with pytest.raises(CheckpointError, match="b holds a value that is not finite"):
        save_weights(tmp_path, {"a": np.ones(2), "b": np.array([1, value])}, metadata={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, function):
    def fail(*args):
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\)") as caught:
        write_atomically(path, b"new")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_weights_that_never_came_to_their_place_survive_a_failed_save_of_the_same(tmp_path, monkeypatch):
    """Killed after the manifest, a save leaves them under their other name; the next, of no change, may fail."""
    save_weights(tmp_path, initial_weights(MODEL, seed=1), metadata={})
    replace = os.replace

    def stopped(source, target):
        if Path(target).name == WEIGHTS_NAME:
            raise OSError(5, "killed here")
        replace(source, target)

    def full(source, target):
        if Path(target).name == MANIFEST_NAME:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(CheckpointError, match="cannot be replaced .killed here."):
        save_weights(tmp_path, initial_weights(MODEL), metadata={})
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_weights(tmp_path, initial_weights(MODEL), metadata={})
    monkeypatch.undo()
    for name, value in initial_weights(MODEL).items():
        np.testing.assert_array_equal(load_weights(tmp_path)[0][name], value)


def test_names_and_shapes_must_be_exactly_those_expected():
    weights, expected = initial_weights(MODEL), parameter_shapes(MODEL)
    check_names_and_shapes(weights, expected, where="here")
    for wrong, message in (
        ({**weights, "extra": np.ones(1)}, "unexpected .'extra'."),
        ({name: value for name, value in weights.items() if "bias" not in name}, "missing .'decoder.0.bias'"),
        (
            {**weights, "encoder.0.weight": weights["encoder.0.weight"].T},
            r"shape \(5, 3\), expected \(3, 5\)",
        ),
        (
            {**weights, "encoder.0.bias": np.full(3, np.nan)},
            "encoder.0.bias holds a value that is not finite",
        ),
    ):
        with pytest.raises(CheckpointError, match=f"^here: .*{message}"):
            check_names_and_shapes(wrong, expected, where="here")
