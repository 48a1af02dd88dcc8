"""AtomicCheckpointIO: whole or absent whatever happens, verified when read."""

import hashlib
import io
import random
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from core_torch.spec.errors import CheckpointError
from lightning_impl.checkpoint import AtomicCheckpointIO, read_checkpoint
from lightning_impl.model import LitAutoencoder

CONTENT = {"state_dict": {"weight": torch.arange(2000.0)}, "pytorch-lightning_version": "2.6.6"}


def saved(tmp_path: Path) -> Path:
    AtomicCheckpointIO().save_checkpoint(CONTENT, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_what_is_saved_is_loaded_by_us_and_by_torch(tmp_path: Path) -> None:
    path = saved(tmp_path)
    for content in (AtomicCheckpointIO().load_checkpoint(path), torch.load(path, weights_only=True)):
        assert torch.equal(content["state_dict"]["weight"], CONTENT["state_dict"]["weight"])
    assert list(tmp_path.iterdir()) == [path]


def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole, chance = path.read_bytes(), random.Random(0)
    places = {0, len(whole) - 1, len(whole) - 65, len(whole) - 66, *(chance.randrange(len(whole)) for _ in range(300))}
    for place in places:
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match="cannot be read"):
                read_checkpoint(path)
    path.write_bytes(whole)
    read_checkpoint(path)


def test_a_checkpoint_with_the_older_digest_is_read_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(CONTENT, buffer)
    plain, path = buffer.getvalue(), tmp_path / "old.ckpt"
    sealed = plain[:-2] + (64).to_bytes(2, "little") + hashlib.sha256(plain).hexdigest().encode()
    path.write_bytes(sealed)
    assert torch.equal(read_checkpoint(path)["state_dict"]["weight"], CONTENT["state_dict"]["weight"])
    path.write_bytes(sealed[:700] + bytes([sealed[700] ^ 1]) + sealed[701:])
    with pytest.raises(CheckpointError, match="sha256"):
        read_checkpoint(path)


def test_lightning_s_own_checkpoints_are_read(tmp_path: Path) -> None:
    TorchCheckpointIO().save_checkpoint(CONTENT, tmp_path / "b.ckpt")
    assert torch.equal(read_checkpoint(tmp_path / "b.ckpt")["state_dict"]["weight"], torch.arange(2000.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_neither_kept_nor_given(tmp_path: Path, value: float) -> None:
    path, spoilt = saved(tmp_path), CONTENT | {"state_dict": {"weight": torch.tensor([1.0, value])}}
    with pytest.raises(CheckpointError, match="weight holds a value that is not finite"):
        AtomicCheckpointIO().save_checkpoint(spoilt, path)
    read_checkpoint(path)
    TorchCheckpointIO().save_checkpoint(spoilt, path)
    with pytest.raises(CheckpointError, match="weight holds a value that is not finite"):
        read_checkpoint(path)


@pytest.mark.parametrize("url", ["https://example.org/a.ckpt", "memory://a.ckpt"])
def test_urls_are_refused(url: str) -> None:
    for act in (lambda: read_checkpoint(url), lambda: LitAutoencoder.load_from_checkpoint(url)):
        with pytest.raises(CheckpointError, match="URL"):
            act()
    with pytest.raises(CheckpointError, match="URL"):
        AtomicCheckpointIO().save_checkpoint(CONTENT, url)


def test_a_checkpoint_that_cannot_be_written_or_is_another_thing_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="cannot be written"):
        AtomicCheckpointIO().save_checkpoint({}, file / "a.ckpt")
    with pytest.raises(CheckpointError, match="cannot be written"):
        AtomicCheckpointIO().save_checkpoint({}, "/proc/a.ckpt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(file)
    AtomicCheckpointIO().save_checkpoint({"weights": 1}, file)
    with pytest.raises(CheckpointError, match="no state_dict"):
        read_checkpoint(file)
