"""A single flipped bit, in whichever file of whichever kind, is found before a tensor is used."""

import gzip
import hashlib
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from core_torch.data.resident import ResidentDataset
from core_torch.files import sources
from core_torch.files.splits import load_split
from core_torch.files.weights import MANIFEST_NAME, WEIGHTS_NAME
from core_torch.models.autoencoder import build_autoencoder, to_reference_weights
from core_torch.models.checkpoint import load_checkpoint, save_checkpoint
from core_torch.spec.architecture import FullyConnected
from core_torch.spec.errors import CheckpointError, DataFormatError
from core_torch.spec.recipe import Recipe
from core_torch.training.checkpoints import Checkpoints
from core_torch.training.loop import train
from core_torch.training.state import TrainingState
from tests.reliability.mutations import flipped

SMALL = FullyConnected(widths=(784, 2))
RECIPE = Recipe(epochs=1, batch_size=18, objective="denoising")
IMAGES = ResidentDataset(load_split("digits").take(np.arange(20)))
FLIPS, STRESS_FLIPS = 40, 1000


@dataclass(frozen=True)
class Guarded:
    """A file, how everything that depends on it is read, and the error that damage has to raise.

    Attributes:
        spelled: whether a flip may change how a number or white space is spelled, and nothing that it says: 1e-05
            and 1E-05. Of JSON.
    """

    path: Path
    read: Callable[[], object]
    error: type[Exception]
    spelled: bool = False


def checkpoint(folder: Path, patch: pytest.MonkeyPatch, *, name: str) -> Guarded:
    save_checkpoint(folder, build_autoencoder(SMALL), recipe=RECIPE, name="small", dataset="digits")

    def read() -> object:
        model, recipe, manifest = load_checkpoint(folder)
        return {name: array.tobytes() for name, array in to_reference_weights(model).items()}, recipe, manifest

    return Guarded(folder / name, read, CheckpointError, spelled=name == MANIFEST_NAME)


def state(folder: Path, patch: pytest.MonkeyPatch, *, name: str) -> Guarded:
    """Of a run, which is read by going on with it; `restore` is what would use a tensor first."""
    restored: list[object] = []

    def restore(self, arrays, numbers, *, where) -> None:
        restored.append(({name: array.tobytes() for name, array in arrays.items()}, numbers))
        self.monitor.epoch = RECIPE.epochs

    def go_on() -> None:
        checkpoints = Checkpoints(folder, every=1)
        train(build_autoencoder(SMALL), IMAGES, recipe=RECIPE, progress=False, checkpoints=checkpoints)

    go_on()
    patch.setattr(TrainingState, "restore", restore)
    patch.setattr("core_torch.training.checkpoints.save_arrays", lambda *arguments, **more: None)

    def read() -> object:
        restored.clear()
        go_on()
        return restored.pop()

    return Guarded(folder / name, read, CheckpointError, spelled=name == MANIFEST_NAME)


def dataset(folder: Path, patch: pytest.MonkeyPatch, *, name: str, suffix: str = "") -> Guarded:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    files = {
        "train-images-idx3-ubyte": struct.pack(">4B3I", 0, 0, 8, 3, 3, 28, 28) + bytes(3 * 784),
        "train-labels-idx1-ubyte": struct.pack(">4BI", 0, 0, 8, 1, 3) + bytes([3, 1, 4]),
    }
    for each, content in files.items():
        (raw / each).write_bytes(content)
    (raw / name).unlink()
    packed = gzip.compress(files[name], mtime=0)
    (raw / f"{name}{suffix}").write_bytes(packed if suffix else files[name])
    sums = {each: hashlib.md5(content).hexdigest() for each, content in files.items()}
    archives = sums | {name: hashlib.md5(packed).hexdigest()}
    patch.setitem(sources.SOURCES, "mnist", sources.Source("MNIST", (), archives, sums))

    def read() -> object:
        split = load_split("mnist", root=folder, download=False)
        return split.images.tobytes(), split.labels.tobytes()

    return Guarded(raw / f"{name}{suffix}", read, DataFormatError)


KINDS: dict[str, Callable[[Path, pytest.MonkeyPatch], Guarded]] = {
    "weights": lambda folder, patch: checkpoint(folder, patch, name=WEIGHTS_NAME),
    "manifest": lambda folder, patch: checkpoint(folder, patch, name=MANIFEST_NAME),
    "state of a run": lambda folder, patch: state(folder, patch, name=WEIGHTS_NAME),
    "manifest of a run": lambda folder, patch: state(folder, patch, name=MANIFEST_NAME),
    "images": lambda folder, patch: dataset(folder, patch, name="train-images-idx3-ubyte"),
    "images.gz": lambda folder, patch: dataset(folder, patch, name="train-images-idx3-ubyte", suffix=".gz"),
    "labels": lambda folder, patch: dataset(folder, patch, name="train-labels-idx1-ubyte"),
}


def undetected(kind: Guarded, *, flips: int) -> tuple[int, int]:
    """(flips that were not found though they changed something, flips that changed only how a number is spelled)."""
    sound, chance, missed, spelled = kind.path.read_bytes(), random.Random(0), 0, 0
    expected = kind.read()
    for bit in (chance.randrange(8 * len(sound)) for _ in range(flips)):
        kind.path.write_bytes(flipped(sound, bit))
        try:
            same = kind.read() == expected
        except kind.error:
            continue
        spelled += same and kind.spelled
        missed += not (same and kind.spelled)
    kind.path.write_bytes(sound)
    assert kind.read() == expected
    return missed, spelled


@pytest.mark.parametrize("name", KINDS)
def test_every_flipped_bit_is_found(name, tmp_path, monkeypatch):
    missed, spelled = undetected(KINDS[name](tmp_path, monkeypatch), flips=FLIPS)
    assert missed == 0
    assert spelled <= FLIPS / 20


def test_without_a_digest_a_flip_passes(tmp_path, monkeypatch):
    """The twin: the same weights by safetensors alone."""
    from safetensors.numpy import load, save

    path = tmp_path / "weights"
    path.write_bytes(save({"w": np.random.default_rng(0).random(1000, np.float32)}))
    unguarded = Guarded(path, lambda: load(path.read_bytes())["w"].tobytes(), Exception)
    assert undetected(unguarded, flips=FLIPS)[0] > FLIPS / 2


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", KINDS)
def test_a_thousand_flipped_bits_are_found(name, tmp_path, monkeypatch, tally):
    missed, spelled = undetected(KINDS[name](tmp_path, monkeypatch), flips=STRESS_FLIPS)
    others = f"torch.load: {torch_misses(tmp_path)}"
    if spelled:
        others += f"; {spelled} here said the same in other letters"
    tally.add(f"flipped bits: {name}", tried=STRESS_FLIPS, failed=missed, baseline=others)
    assert missed == 0


def torch_misses(folder: Path) -> str:
    import torch

    path = folder / "weights.pt"
    torch.save({"w": torch.rand(1000)}, path)

    def read() -> bytes:
        return torch.load(path, weights_only=True)["w"].numpy().tobytes()

    missed, _ = undetected(Guarded(path, read, Exception), flips=300)
    return f"{missed} of 300 missed"
