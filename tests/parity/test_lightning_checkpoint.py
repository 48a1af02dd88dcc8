"""AtomicCheckpointIO: whole or absent whatever happens, verified when read."""

import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from core_torch.contract.errors import CheckpointError
from lightning_impl.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from lightning_impl.module import LitAutoencoder

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


def test_lightning_s_own_checkpoints_are_read(tmp_path: Path) -> None:
    TorchCheckpointIO().save_checkpoint(CONTENT, tmp_path / "b.ckpt")
    assert torch.equal(read_checkpoint(tmp_path / "b.ckpt")["state_dict"]["weight"], torch.arange(2000.0))


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    torch.save(CONTENT | {"callbacks": Malicious(tmp_path / "canary")}, tmp_path / "a.ckpt")
    for load in (AtomicCheckpointIO().load_checkpoint, LitAutoencoder.load_from_checkpoint):
        with pytest.raises(CheckpointError):
            load(tmp_path / "a.ckpt", weights_only=False)
    assert not (tmp_path / "canary").exists()


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


def save_for_ever(path: Path, how: str, acknowledge: Connection) -> None:
    """Acknowledges each step that it saved."""
    for step in count(1):
        content = CONTENT | {"state_dict": {"weight": torch.full((200_000,), float(step))}}
        torch.save(content, path) if how == "torn" else AtomicCheckpointIO().save_checkpoint(content, path)
        acknowledge.send(step)


def kill_while_saving(folder: Path, *, times: int, how: str = "atomic") -> int:
    """How many kills left a file that is unreadable, or older than what was acknowledged."""
    context, chance, lost, path = get_context("fork"), random.Random(1), 0, folder / "a.ckpt"
    for _ in range(times):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=save_for_ever, args=(path, how, sender))
        process.start()
        sender.close()
        acknowledged = receiver.recv()
        time.sleep(chance.uniform(0, 0.08))
        process.kill()
        process.join()
        with suppress(EOFError):
            while True:
                acknowledged = receiver.recv()
        try:
            lost += float(read_checkpoint(path)["state_dict"]["weight"][-1]) < acknowledged
        except CheckpointError:
            lost += 1
    AtomicCheckpointIO().save_checkpoint(CONTENT, path)
    assert list(folder.iterdir()) == [path]  # what killed ones left is swept up
    return lost


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[list[Path]]:
    """On the file system of the temporary folder, and on another one."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        yield [tmp_path]
    else:
        with tempfile.TemporaryDirectory(dir=memory) as other:
            yield [tmp_path, Path(other)]


def test_a_save_that_is_killed_loses_nothing_acknowledged(folders: list[Path]) -> None:
    for folder in folders:
        assert kill_while_saving(folder, times=10) == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_saves_that_are_killed_lose_nothing_acknowledged(folders: list[Path]) -> None:
    for folder in folders:
        assert kill_while_saving(folder, times=50) == 0
    assert kill_while_saving(folders[0], times=20, how="torn") > 0
