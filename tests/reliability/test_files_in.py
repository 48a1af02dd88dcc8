"""Every damaged file is answered by the one error of its kind, or holds what it held; it takes little memory."""

import argparse
import gzip
import hashlib
import os
import struct
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from benchmarks.report.reading import read_results
from core_torch.commands.command_line import Parser
from core_torch.commands.train_options import add_train_options, recipe_file, resolve_options
from core_torch.files import sources
from core_torch.files.splits import Split, load_split, read_images_and_labels
from core_torch.files.weights import MANIFEST_NAME, WEIGHTS_NAME, load_arrays, save_weights
from core_torch.parity.arrays_file import read_arrays
from core_torch.parity.trace_file import load_trace, save_trace
from core_torch.spec.architecture import ARCHITECTURES
from core_torch.spec.errors import CheckpointError, ConfigError, DataFormatError
from core_torch.spec.recipe import Recipe
from lightning_impl.checkpoint import AtomicCheckpointIO, read_checkpoint
from lightning_impl.config_file import check_config
from tests.reliability.mutations import mutations

LARGEST_PEAK = 16_000_000  # bytes beside the file
WEIGHED = 150  # files whose memory is measured; that is slow
DEFAULT = 300  # files of each kind
STRESS_IDX, STRESS_OTHERS = 12_500, 5_000  # the first 100,000 together
FUZZED, STRESS_FUZZED = 2_000, 200_000
ROOT = Path(__file__).parents[2]
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        path: of the file that is damaged.
        sound: its content in every form it may have.
        read: everything that depends on it, as something to compare.
        error: the only one that reading may raise.
        guarded: whether anything but what was written has to be refused.
        named: whether the error has to name the file; a recipe's names the value.
    """

    path: Path
    sound: list[bytes]
    read: Callable[[], object]
    error: type[Exception]
    guarded: bool = True
    named: bool = True


def idx(shape: tuple[int, ...], content: bytes) -> bytes:
    return struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape) + content


def dataset(folder: Path) -> dict[str, bytes]:
    """Seven images and their labels, under MNIST's names."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, 7 * 784, dtype=np.uint8)
    pixels[::3] = 0
    files = {NAMES[0]: idx((7, 28, 28), pixels.tobytes()), NAMES[1]: idx((7,), bytes([3, 1, 4, 1, 5, 9, 2]))}
    for name, content in files.items():
        (raw / name).write_bytes(content)
    return files


def as_bytes(split: Split) -> tuple[bytes, bytes]:
    return split.images.tobytes(), split.labels.tobytes()


def idx_kind(folder: Path, patch: pytest.MonkeyPatch, *, name: str, suffix: str, md5: bool) -> Kind:
    files = dataset(folder)
    raw, content = folder / "MNIST" / "raw", files[name]
    path = raw / f"{name}{suffix}"
    stored = gzip.compress(content, mtime=0) if suffix else content
    (raw / name).unlink()
    sums = {each: hashlib.md5(value).hexdigest() for each, value in files.items()} if md5 else {}
    source = sources.Source("MNIST", (), sums | ({name: hashlib.md5(stored).hexdigest()} if md5 else {}), sums)
    patch.setitem(sources.SOURCES, "mnist", source)

    def read() -> object:
        if md5:
            return as_bytes(load_split("mnist", root=folder, download=False))
        paths = [path if each == name else raw / each for each in NAMES]
        return [array.tobytes() for array in read_images_and_labels(*paths)]

    return Kind(path, [stored], read, DataFormatError, guarded=md5)


def weights_kind(folder: Path, patch: pytest.MonkeyPatch, *, name: str) -> Kind:
    weights = {"encoder.0.weight": np.ones((3, 4), np.float32), "encoder.0.bias": np.zeros(3, np.float32)}
    save_weights(folder, weights, metadata={"recipe": Recipe().to_dict(), "history": [0.1, 2e-5]})

    def read() -> object:
        arrays, manifest = load_arrays(folder)
        return {each: array.tobytes() for each, array in arrays.items()}, manifest

    return Kind(folder / name, [(folder / name).read_bytes()], read, CheckpointError)


def arrays_kind(folder: Path, patch: pytest.MonkeyPatch) -> Kind:
    path = folder / "request.safetensors"
    content = save({"inputs": np.ones((2, 3), np.float32), "targets": np.arange(4)})
    return Kind(path, [content], lambda: read_arrays(path), DataFormatError, guarded=False)


def recipe_kind(folder: Path, patch: pytest.MonkeyPatch) -> Kind:
    path, parser = folder / "recipe.toml", Parser()
    add_train_options(parser, models=tuple(ARCHITECTURES))

    def read() -> object:
        options = parser.parse_args(["--recipe", str(path)])
        return resolve_options(options, models=tuple(ARCHITECTURES))

    sound = []
    for objective in ("standard", "denoising", "contractive"):
        given = {"model": "deep", "preset": "default", "dataset": "mnist", "code_activation": "silu"}
        sound.append(recipe_file(argparse.Namespace(**given), Recipe(objective=objective)).encode())
    return Kind(path, sound, read, ConfigError, guarded=False, named=False)


def trace_kind(folder: Path, patch: pytest.MonkeyPatch) -> Kind:
    path = folder / "trace.npz"
    save_trace(path, {"loss@1": np.array(0.5), "gradient/encoder.0.weight@1": np.ones((2, 3), np.float32)})

    def read() -> object:
        return {name: (array.dtype, array.tobytes()) for name, array in load_trace(path).items()}

    return Kind(path, [path.read_bytes()], read, DataFormatError)


def checkpoint_kind(folder: Path, patch: pytest.MonkeyPatch) -> Kind:
    import torch

    path = folder / "run.ckpt"
    weights = {"model.encoder.0.weight": torch.ones(3, 4), "model.encoder.0.bias": torch.zeros(3)}
    kept = {"state_dict": weights, "pytorch-lightning_version": "2.6.6", "epoch": 3, "hyper_parameters": {"seed": 0}}
    AtomicCheckpointIO().save_checkpoint(kept, path)

    def read() -> object:
        found = read_checkpoint(path)
        return {name: tensor.numpy().tobytes() for name, tensor in found.pop("state_dict").items()}, found

    return Kind(path, [path.read_bytes()], read, CheckpointError)


def options_kind(folder: Path, patch: pytest.MonkeyPatch) -> Kind:
    path = folder / "options.yaml"
    content = b"seed_everything: 0\nmodel:\n  model: deep\n  learning_rate: 0.01\ntrainer: {max_epochs: 3}\n"
    return Kind(path, [content], lambda: check_config(str(path)), ConfigError, guarded=False)


def results_kind(folder: Path, patch: pytest.MonkeyPatch) -> Kind:
    published = sorted((Path(__file__).parents[2] / "benchmarks" / "published").glob("*/results.json"), key=size_of)
    path = folder / "results.json"
    return Kind(path, [published[0].read_bytes()], lambda: read_results(path), DataFormatError, guarded=False)


def size_of(path: Path) -> int:
    return path.stat().st_size


KINDS: dict[str, Callable[[Path, pytest.MonkeyPatch], Kind]] = {
    **{
        f"idx {name.split('-')[1]}{suffix}{' of known MD5' * md5}": (
            lambda folder, patch, name=name, suffix=suffix, md5=md5: idx_kind(
                folder, patch, name=name, suffix=suffix, md5=md5
            )
        )
        for name in NAMES
        for suffix in ("", ".gz")
        for md5 in (False, True)
    },
    "weights": lambda folder, patch: weights_kind(folder, patch, name=WEIGHTS_NAME),
    "manifest": lambda folder, patch: weights_kind(folder, patch, name=MANIFEST_NAME),
    "exchanged arrays": arrays_kind,
    "recipe": recipe_kind,
    "trace": trace_kind,
    "Lightning checkpoint": checkpoint_kind,
    "Lightning options": options_kind,
    "results": results_kind,
}


def same(one: object, other: object) -> bool:
    """Equality, of arrays too."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else one == other


def attempt(kind: Kind, content: bytes, expected: object) -> str:
    """`refused`, `same`, `other`: or what is wrong about how the file was met."""
    kind.path.write_bytes(content)
    try:
        found = kind.read()
    except kind.error as error:
        line = str(error)
        named = kind.path.name in line or not kind.named
        return "refused" if named and len(line.splitlines()) == 1 else f"says {line!r}"
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    if same(found, expected):
        return "same"
    return "is not noticed" if kind.guarded else "other"


def try_all(kind: Kind, *, count: int, seed: int = 0) -> tuple[Counter[str], float]:
    """How often what happened, and the seconds of processor time that the slowest file took."""
    expected, found, slowest = [], Counter(), 0.0
    for content in kind.sound:
        kind.path.write_bytes(content)
        expected.append(kind.read())
    for number, content in enumerate(mutations(kind.sound, count=count, seed=seed)):
        start = time.process_time()
        found[attempt(kind, content, expected[number % len(expected)])] += 1
        slowest = max(slowest, time.process_time() - start)
    return found, slowest


HARMLESS = {"refused", "same", "other"}


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_refused_in_one_line_by_the_error_of_its_kind(name, tmp_path, monkeypatch):
    found, _ = try_all(KINDS[name](tmp_path, monkeypatch), count=DEFAULT)
    assert set(found) <= HARMLESS, found
    assert found["refused"] > DEFAULT / 2 or name in ("recipe", "Lightning options"), found


def baseline(kind: Kind, count: int) -> str:
    """How others do on the same kind of damage, where there is somebody else who reads such files."""
    if "idx" not in kind.path.name:
        return ""
    from torchvision.datasets.mnist import read_image_file, read_label_file

    read = read_image_file if "images" in kind.path.name else read_label_file
    content = gzip.decompress(kind.sound[0]) if kind.path.suffix else kind.sound[0]
    path, raised, accepted = kind.path.with_name("plain"), set(), 0
    for damaged in mutations([content], count=min(count, 2_000), seed=1):
        path.write_bytes(damaged)
        try:
            read(str(path))
            accepted += 1
        except Exception as error:
            raised.add(type(error).__name__)
    return f"torchvision: {len(raised)} kinds of error, {accepted:,} of {min(count, 2_000):,} accepted"


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", KINDS)
def test_many_more_damaged_files(name, places, monkeypatch, tally):
    count = STRESS_IDX if name.startswith("idx") else STRESS_OTHERS
    kind = KINDS[name]([*places.values()][-1], monkeypatch)
    found, slowest = try_all(kind, count=count, seed=1)
    wrong = {what: times for what, times in found.items() if what not in HARMLESS}
    others = f"slowest {1e3 * slowest:.0f} ms. {baseline(kind, count)}"
    tally.add(f"damaged files: {name}", tried=count, failed=sum(wrong.values()), baseline=others)
    assert not wrong


def fuzzed(folder: Path, runs: int, *how: str) -> subprocess.CompletedProcess:
    if find_spec("atheris") is None:
        pytest.skip("atheris is not installed; it has no package for this machine")
    command = [sys.executable, str(Path(__file__).with_name("fuzz_idx.py")), str(folder), str(runs), *how]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)


def test_a_fuzzer_that_follows_the_branches_finds_no_other_error(places):
    done = fuzzed([*places.values()][-1], FUZZED)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"Done {FUZZED}" in done.stderr


def test_the_fuzzer_finds_the_branch_in_which_a_reader_fails(places):
    done = fuzzed([*places.values()][-1], STRESS_FUZZED, "careless")
    assert done.returncode != 0
    assert "ValueError: cannot reshape" in done.stdout + done.stderr


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_a_fuzzer_finds_none_in_many_more(places, tally):
    done = fuzzed([*places.values()][-1], STRESS_FUZZED)
    failed = int(done.returncode != 0)
    tally.add("damaged files: idx, by a fuzzer that sees branches", tried=STRESS_FUZZED, failed=failed)
    assert not failed, done.stderr[-2000:]


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_takes_little_memory(name, tmp_path, monkeypatch):
    kind = KINDS[name](tmp_path, monkeypatch)
    kind.path.write_bytes(kind.sound[0])
    kind.read()
    peaks = []
    for content in mutations(kind.sound, count=WEIGHED, seed=2):
        tracemalloc.start()
        attempt(kind, content, None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < LARGEST_PEAK


def test_a_reader_without_the_checks_would_be_caught(tmp_path, monkeypatch):
    """NumPy takes the bytes for what the header should say; then pixels differ, and other errors escape."""
    kind = idx_kind(tmp_path, monkeypatch, name=NAMES[0], suffix="", md5=True)
    careless = Kind(
        kind.path,
        kind.sound,
        lambda: np.frombuffer(kind.path.read_bytes(), np.uint8)[16:].reshape(7, 28, 28).tobytes(),
        DataFormatError,
    )
    found, _ = try_all(careless, count=DEFAULT)
    assert found["is not noticed"] > 10
    assert any(what.startswith("raises ValueError") for what in found)


HOSTILE_TOML = [
    "learning_rate = " + "1" * 5000,
    "seed = 0x" + "f" * 5000,
    "seed = [0x" + "f" * 5000 + "]",
    "a = " + "[" * 100_000,
    "epochs = 2026-13-45",
]


@pytest.mark.parametrize("content", HOSTILE_TOML, ids=range(len(HOSTILE_TOML)))
def test_toml_made_to_break_its_reader_is_refused(content, tmp_path, monkeypatch):
    kind = recipe_kind(tmp_path, monkeypatch)
    assert attempt(kind, content.encode(), None) == "refused"


@pytest.mark.parametrize("name", ["idx images", "idx images.gz", "idx labels of known MD5", "weights", "manifest"])
def test_a_pipe_is_refused_and_not_waited_for(name, tmp_path, monkeypatch):
    kind = KINDS[name](tmp_path, monkeypatch)
    kind.path.unlink(missing_ok=True)
    os.mkfifo(kind.path)
    with pytest.raises(kind.error, match="is not a regular file"):
        kind.read()


@pytest.mark.parametrize("name", ["idx images", "idx labels of known MD5", "weights", "manifest"])
def test_a_device_that_never_ends_is_refused(name, tmp_path, monkeypatch):
    kind = KINDS[name](tmp_path, monkeypatch)
    kind.path.unlink(missing_ok=True)
    kind.path.symlink_to("/dev/zero")
    with pytest.raises(kind.error, match="is not a regular file"):
        kind.read()


def test_the_same_seed_damages_the_same_way():
    one, other, third = (list(mutations([bytes(100)], count=20, seed=seed)) for seed in (3, 3, 4))
    assert one == other != third
