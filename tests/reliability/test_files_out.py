"""A write that fails, or is killed, at whichever point leaves what was there before; nothing acknowledged is lost."""

import errno
import io
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from core_torch.data.resident import ResidentDataset
from core_torch.files.atomic import ORPHAN_SECONDS, write_atomically
from core_torch.files.splits import load_split
from core_torch.files.weights import load_arrays, save_arrays, save_weights
from core_torch.models.autoencoder import build_autoencoder
from core_torch.spec.architecture import FullyConnected
from core_torch.spec.errors import CheckpointError
from core_torch.spec.recipe import Recipe
from core_torch.training.checkpoints import Checkpoints
from core_torch.training.loop import train
from tests.reliability.killing import Killed, Writer, kill_while_saving

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EXDEV)
ROOT = Path(__file__).parents[2]
POINTS = ("open", "write 0", "write 1", "write 3000", "fsync", "replace")
VALUES = 50_000  # of an array: 200 kB, several write calls
KILLS, KERAS_KILLS = 1_000, 250  # of each kind on each file system
SHORT = 4_096  # bytes that a short write takes


class FaultyFile(io.FileIO):
    """Takes a little at a time, and after so many bytes nothing more."""

    def __init__(self, path: Path, *, room: float = np.inf, fail: Callable[[], None] = lambda: None) -> None:
        super().__init__(path, "xb")
        self.room, self.fail = room, fail

    def write(self, content) -> int:
        if self.room <= 0:
            self.fail()
        taken = super().write(memoryview(content)[: int(min(self.room, SHORT))])
        self.room -= taken
        return taken


class Faults:
    """Makes one system call of a save fail: that at a point, of the n-th file to be written."""

    def __init__(self, patch: pytest.MonkeyPatch, *, point: str = "", number: int = 0, error: int = 0) -> None:
        self.point, self.number, self.error = point, number, error
        self.seen = dict.fromkeys(("open", "fsync", "replace"), 0)
        self.has_struck = False
        opened = Path.open
        patch.setattr(Path, "open", lambda path, mode="r", *rest, **more: self._open(opened, path, mode, *rest, **more))
        for name in ("fsync", "replace"):
            patch.setattr(os, name, self._failing(name, getattr(os, name)))

    def _is_next(self, name: str) -> bool:
        self.seen[name] += 1
        return self.point.split(" ")[0] in (name, "write" if name == "open" else name) and (
            self.seen[name] == self.number + 1
        )

    def _open(self, opened: Callable, path: Path, mode: str, *rest, **more):
        if "x" not in mode:
            return opened(path, mode, *rest, **more)
        if not self._is_next("open"):
            return io.BufferedWriter(FaultyFile(path))
        if self.point == "open":
            self._fail()
        return io.BufferedWriter(FaultyFile(path, room=int(self.point.split(" ")[1]), fail=self._fail))

    def _fail(self) -> None:
        self.has_struck = True
        raise OSError(self.error, os.strerror(self.error))

    def _failing(self, name: str, call: Callable) -> Callable:
        def failing(*arguments):
            if self._is_next(name):
                self._fail()
            return call(*arguments)

        return failing


def write_text(folder: Path, number: int) -> None:
    write_atomically(folder / "a.json", f"{number:010}".encode() * VALUES)


def read_text(folder: Path) -> int:
    """The number written, -1 where it is not the same all over."""
    content = (folder / "a.json").read_bytes()
    return int(content[:10]) if content == content[:10] * VALUES else -1


def read_arrays(folder: Path) -> int:
    arrays, manifest = load_arrays(folder)
    return manifest["number"] if (arrays["w"] == manifest["number"]).all() else -1


def write_weights(folder: Path, number: int) -> None:
    save_weights(folder, {"w": np.full(VALUES, number)}, metadata={"number": number})


def write_state(folder: Path, number: int) -> None:
    arrays = {"w": np.full(VALUES, number, np.float64), "generator": np.zeros(9, np.uint8)}
    save_arrays(folder, arrays, metadata={"number": number})


def write_ckpt(folder: Path, number: int) -> None:
    from lightning_impl.checkpoint import AtomicCheckpointIO

    content = {"state_dict": {"w": torch.full((VALUES,), float(number))}, "pytorch-lightning_version": "2.6.6"}
    AtomicCheckpointIO().save_checkpoint(content, folder / "a.ckpt")


def read_ckpt(folder: Path) -> int:
    from lightning_impl.checkpoint import read_checkpoint

    return the_number_in(read_checkpoint(folder / "a.ckpt")["state_dict"]["w"])


def the_number_in(values: torch.Tensor) -> int:
    """-1 where it is not the same all over."""
    return int(values[0]) if (values == values[0]).all() else -1


PAIR = ["manifest.json", "weights.safetensors"]
WRITERS = {
    "one file": Writer(write_text, read_text, ["a.json"]),
    "weights": Writer(write_weights, read_arrays, PAIR),
    "a run's state": Writer(write_state, read_arrays, PAIR),
    "a .ckpt": Writer(write_ckpt, read_ckpt, ["a.ckpt"]),
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def meet_fault(writer: Writer, folder: Path, *, old: bool, point: str, number: int, error: int) -> bool:
    """Save 2 over 1, or over nothing, while something fails; whether it has, after checking what is left."""
    if old:
        writer.save(folder, 1)
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, point=point, number=number, error=error)
        try:
            writer.save(folder, 2)
            saved = True
        except CheckpointError as caught:
            saved = False
            assert str(folder) in str(caught) and os.strerror(error) in str(caught)
            assert len(str(caught).splitlines()) == 1
    if saved or (point, number) == ("replace", len(PAIR)):
        assert writer.load(folder) == 2
    else:
        assert names(folder) == (writer.names if old else [])
        assert not old or writer.load(folder) == 1
    writer.save(folder, 3)
    assert writer.load(folder) == 3
    assert names(folder) == writer.names
    return faults.has_struck


@pytest.mark.parametrize("old", [True, False], ids=["over another", "anew"])
@pytest.mark.parametrize("name", WRITERS)
def test_whatever_fails_the_old_state_or_the_new_is_there_and_nothing_else(name, old, tmp_path):
    writer, struck = WRITERS[name], 0
    for point in POINTS:
        for error in ERRORS:
            for number in range(len(writer.names) + (point == "replace" and len(writer.names) > 1)):
                folder = tmp_path / f"{point} {number} {error}"
                folder.mkdir()
                struck += meet_fault(writer, folder, old=old, point=point, number=number, error=error)
    manifest_is_short = len(ERRORS) * (len(writer.names) > 1)  # so its write never comes as far as byte 3000
    assert struck == len(list(tmp_path.iterdir())) - manifest_is_short


def test_a_file_that_takes_a_little_at_a_time_is_written_whole(tmp_path, monkeypatch):
    Faults(monkeypatch)
    for writer in WRITERS.values():
        writer.save(tmp_path, 7)
        assert writer.load(tmp_path) == 7


def test_a_writer_in_place_would_be_caught(tmp_path):
    def careless(folder: Path, number: int) -> None:
        try:
            with (folder / "a.json").open("xb" if not (folder / "a.json").exists() else "wb") as file:
                file.write(f"{number:010}".encode() * VALUES)
                os.fsync(file.fileno())
        except OSError as error:
            raise CheckpointError(f"{folder}: {error.strerror}") from error

    for point in ("fsync", "write 3000"):
        folder = tmp_path / point
        folder.mkdir()
        with pytest.raises(AssertionError):
            writer = Writer(careless, read_text, ["a.json"])
            meet_fault(writer, folder, old=False, point=point, number=0, error=errno.EIO)


def in_a_child(work: Callable[[], object]) -> int:
    """The exit code of a process that does this: 0, or 2 for a `CheckpointError`."""
    if (child := os.fork()) == 0:
        code = 3
        try:
            work()
            code = 0
        except CheckpointError as error:
            code = 2 if "File too large" in str(error) else 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("room", [0, 100, 10_000, 150_000])
def test_a_limit_of_the_operating_system_leaves_the_old_state(name, room, tmp_path):
    writer = WRITERS[name]
    writer.save(tmp_path, 1)

    def save() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        writer.save(tmp_path, 2)

    assert in_a_child(save) == 2
    assert (writer.load(tmp_path), names(tmp_path)) == (1, writer.names)
    assert in_a_child(lambda: writer.save(tmp_path, 2)) == 0
    assert writer.load(tmp_path) == 2


IMAGES = ResidentDataset(load_split("digits").take(np.arange(50)))
RECIPE = Recipe(epochs=2, batch_size=16)


def trained(folder: Path | None) -> tuple[list[float], list[bytes]]:
    model = build_autoencoder(FullyConnected(widths=(784, 4)))
    checkpoints = None if folder is None else Checkpoints(folder, every=1)
    history = train(model, IMAGES, recipe=RECIPE, progress=False, checkpoints=checkpoints)
    return history.train_loss, [weight.numpy().tobytes() for weight in model.state_dict().values()]


@pytest.mark.parametrize("point", POINTS)
def test_training_that_cannot_save_ends_and_goes_on_from_the_save_before(point, tmp_path):
    whole = trained(None)
    for number in (0, 4):
        folder = tmp_path / str(number)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(CheckpointError, match="No space left on device"):
            Faults(patch, point=point, number=number, error=errno.ENOSPC)
            trained(folder)
        if number:
            assert load_arrays(folder)[1]["steps"] > 0
        assert trained(folder) == whole


def write_by_torch(folder: Path, number: int) -> None:
    torch.save({"w": torch.full((VALUES,), float(number))}, folder / "a.pt")


def read_by_torch(folder: Path) -> int:
    return the_number_in(torch.load(folder / "a.pt", weights_only=True)["w"])


BY_TORCH = Writer(write_by_torch, read_by_torch, ["a.pt"])


def check_orphans(writer: Writer, folder: Path) -> int:
    """How many files the killed ones left; that the next save removes them, but not what somebody may be writing."""
    left = [path for path in folder.iterdir() if path.name not in writer.names]
    old = time.time() - ORPHAN_SECONDS - 1
    for path in left:
        os.utime(path, (old, old))
    fresh = folder / f".{writer.names[0]}-{'0' * 16}"
    fresh.touch()
    writer.save(folder, 1)
    assert names(folder) == sorted([*writer.names, fresh.name])
    fresh.unlink()
    return len(left)


@pytest.mark.parametrize("name", WRITERS)
def test_kill_9_loses_nothing_and_what_it_leaves_is_swept_up(name, places):
    for folder in places.values():
        assert kill_while_saving(WRITERS[name], folder, times=25) == Killed()
        check_orphans(WRITERS[name], folder)


def test_a_temporary_file_that_somebody_killed_has_left_is_removed(tmp_path):
    for writer in WRITERS.values():
        folder = tmp_path / "".join(writer.names)
        folder.mkdir(exist_ok=True)
        writer.save(folder, 1)
        for name in [*writer.names, ".weights.safetensors-0123456789abcdef"]:
            if name in writer.names or len(writer.names) > 1:
                (folder / f".{name}-{'f' * 16}").write_bytes(b"half")
        assert check_orphans(writer, folder) == 1 + 2 * (len(writer.names) > 1)


def test_the_kills_hit(tmp_path):
    """torch.save into its own file, killed as often, is torn most of the time."""
    found = kill_while_saving(BY_TORCH, tmp_path, times=20)
    assert found.unreadable + found.lost > 5


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", WRITERS)
def test_a_thousand_kills_on_each_file_system(name, places, tally):
    for place, folder in places.items():
        found = kill_while_saving(WRITERS[name], folder, times=KILLS)
        left = check_orphans(WRITERS[name], folder)
        (folder / "torch").mkdir(exist_ok=True)
        torn = kill_while_saving(BY_TORCH, folder / "torch", times=50)
        others = f"torch.save: {torn.unreadable + torn.lost} of 50; orphans swept: {left}"
        failed = found.lost + found.unreadable
        tally.add(f"kill -9 while saving {name} ({place})", tried=KILLS, failed=failed, baseline=others)
        assert found == Killed()


def keras_kills(way: str, folder: Path, kills: int) -> int:
    """How many of them lost something, or left a file that could not be read."""
    script, quiet = ROOT / "tests" / "parity" / "test_keras_checkpoints.py", {"CUDA_VISIBLE_DEVICES": ""}
    environment = os.environ | quiet | {"KERAS_BACKEND": "torch", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(folder), str(kills), way]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    unreadable, lost, _ = map(int, done.stdout.split())
    return unreadable + lost


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ["save_model", "backup"])
def test_hundreds_of_kills_of_keras(way, places, tally):
    for place, folder in places.items():
        failed = keras_kills(way, folder, KERAS_KILLS)
        torn = keras_kills("model.save", folder, 20)
        others = f"model.save: {torn} of 20"
        tally.add(f"kill -9 in Keras, {way} ({place})", tried=KERAS_KILLS, failed=failed, baseline=others)
        assert failed == 0
