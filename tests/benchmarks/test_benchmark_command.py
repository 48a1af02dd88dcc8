"""`python -m benchmarks` answers a mistake with one line, exit code 2 and nothing written."""

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests

from benchmarks import __main__ as command

ROOT = Path(__file__).parents[2]
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
COUNT = 60_000  # images


@pytest.fixture(autouse=True)
def away_from_home(tmp_path, monkeypatch) -> None:
    """In an empty folder, without MNIST and without a network."""

    def refuse(*arguments: object, **options: object) -> None:
        raise requests.ConnectionError("no network")

    monkeypatch.delenv("MNIST_ROOT", raising=False)
    monkeypatch.setattr(requests, "get", refuse)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def complaint(monkeypatch, capsys, tmp_path) -> Callable[..., str]:
    """Runs the command and returns its only line; the folder must stay as it was."""

    def run(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
        with pytest.raises(SystemExit) as exited:
            command.main()
        printed = capsys.readouterr()
        assert exited.value.code == 2
        assert printed.out == ""
        assert len(printed.err.splitlines()) == 1
        assert sorted(tmp_path.rglob("*")) == before
        return printed.err

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--suite quik", "suite: found 'quik' (did you mean quick?), allowed: agreement, loading,"),
        ("--frameworks torch", "frameworks: found 'torch'"),
        ("--frameworks core_torch,keras", "frameworks: found 'keras' (did you mean keras-jax?), allowed:"),
        ("--frameworks core_torch,", "frameworks: found ''"),
        ("--dataset mnst", "dataset: found 'mnst' (did you mean mnist?), allowed: digits, mnist,"),
        ("--device gpu", "device: found 'gpu' (did you mean cpu?), allowed: auto, cpu, cuda"),
        ("--seed -1", "seed: found -1, allowed: an integer from 0 to 4294967295"),
        ("--seed 4294967296", "seed: found 4294967296"),
        ("--seed 1.5", "argument --seed: invalid int value: '1.5'"),
        ("--seed", "argument --seed: expected one argument"),
        ("--dataset mnist", f"dataset mnist: data/MNIST/raw/{IMAGES} is not there and cannot be downloaded"),
        ("--dataset kmnist --data-root none", f"dataset kmnist: none/KMNIST/raw/{IMAGES} is not there"),
        ("--batch-size 0", "unrecognized arguments: --batch-size 0"),
        ("--frameworcs jax", "unrecognized arguments: --frameworcs jax (did you mean --frameworks?)"),
        ("comparee a b", "command: found 'comparee' (did you mean compare?), allowed: "),
        ("compare a", "the following arguments are required: NEW.json"),
        ("markdown none.json", "none.json: cannot be read (No such file or directory)"),
    ],
)
def test_a_mistake_takes_one_line(complaint, arguments, said):
    assert said in complaint(*arguments.split())
    if not arguments.startswith(("comp", "mark")):
        assert said in complaint("run", *arguments.split())


def test_a_missing_dataset_names_the_one_that_needs_no_files(complaint):
    assert "use --dataset digits, which needs no files" in complaint("--dataset", "mnist")


def test_a_device_that_is_not_there_is_refused(complaint, monkeypatch):
    monkeypatch.setattr(command, "NVIDIA_DRIVER", Path("none"))
    assert "device: found cuda, allowed on this machine: auto, cpu" in complaint("--device", "cuda")


def test_auto_is_cuda_where_there_is_a_driver(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "NVIDIA_DRIVER", tmp_path)
    assert [command.choose_device(name) for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
    monkeypatch.setattr(command, "NVIDIA_DRIVER", tmp_path / "none")
    assert [command.choose_device(name) for name in ("auto", "cpu")] == ["cpu", "cpu"]


def test_a_framework_that_is_not_installed_is_refused(complaint, monkeypatch):
    monkeypatch.setattr("core_torch.spec.extras.find_spec", lambda name: None if name == "jax" else find_spec(name))
    said = "jax: not installed, allowed: pip install autoencoder-reference[jax]"
    assert said in complaint("--frameworks", "core_torch,keras-jax")


@pytest.mark.parametrize("package", command.REPORTING)
def test_what_the_report_needs_is_asked_for_before_the_run(complaint, monkeypatch, package):
    monkeypatch.setattr("core_torch.spec.extras.find_spec", lambda name: None if name == package else find_spec(name))
    assert f"{package}: not installed, allowed: pip install" in complaint("--frameworks", "core_torch")


def write_mnist(root: Path, *, labels: int = COUNT, missing: int = 0) -> Path:
    """MNIST's training files, all black; without the last `missing` bytes of the images."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    size = COUNT * 28 * 28
    for name, header, length in (
        (IMAGES, struct.pack(">4B3I", 0, 0, 8, 3, COUNT, 28, 28), size - missing),
        (LABELS, struct.pack(">4BI", 0, 0, 8, 1, labels), labels),
    ):
        with (folder / name).open("wb") as file:
            file.write(header)
            file.truncate(len(header) + length)
    return folder


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"labels": COUNT - 1}, f"{LABELS}: found 59,999 labels, expected 60,000, one per image"),
        ({"missing": 1}, f"{IMAGES}: found 47,039,999 bytes after the header, expected 47,040,000"),
        ({"missing": 28 * 28 * COUNT + 8}, f"{IMAGES}: found 8 bytes of header, expected 16"),
        ({}, f"{IMAGES}: found MD5 "),
    ],
)
def test_files_that_are_not_mnist_are_refused(complaint, tmp_path, faults, said):
    folder = write_mnist(tmp_path, **faults)
    assert f"{folder}/{said}" in complaint("--dataset", "mnist", "--data-root", str(tmp_path))


def test_an_output_that_cannot_be_written_to_is_refused(complaint, tmp_path):
    (tmp_path / "file").write_text("kept")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        assert f"output: {folder} cannot be written to" in complaint("--output", str(folder))
    assert (tmp_path / "file").read_text() == "kept"


def test_so_is_a_place_for_json_before_anything_has_run(complaint, tmp_path):
    (tmp_path / "file").write_text("kept")
    assert "cannot be written to" in complaint("--json", str(tmp_path / "file" / "rows.json"))


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60)


def test_the_process_itself_exits_with_2_and_one_line(tmp_path):
    finished = python("-m", "benchmarks", "--dataset", "mnst")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith("python -m benchmarks: error: dataset: found 'mnst'")
    assert len(finished.stderr.splitlines()) == 1
    assert list(Path().iterdir()) == []


LOADED = """
import contextlib, io, runpy, sys
sys.argv = ["benchmarks", *sys.argv[1:]]
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    try:
        runpy.run_module("benchmarks", run_name="__main__")
    except SystemExit as exited:
        code = exited.code
print(code, *sorted({module.partition(".")[0] for module in sys.modules}))
"""
FRAMEWORKS = {"torch", "torchvision", "lightning", "tensorflow", "jax", "keras", "matplotlib"}


@pytest.mark.parametrize(("arguments", "code"), [("--help", 0), ("run --help", 0), ("--suite x", 2)])
def test_help_and_mistakes_import_no_framework(arguments, code):
    exit_code, *modules = python("-c", LOADED, *arguments.split()).stdout.split()
    assert int(exit_code) == code
    assert "benchmarks" in modules
    assert set(modules) & FRAMEWORKS == set()


def test_a_run_that_imported_one_would_be_noticed():
    loaded = python("-c", "import matplotlib, sys; sys.argv[1:] = ['--help']\n" + LOADED).stdout.split()
    assert set(loaded) & FRAMEWORKS == {"matplotlib"}


def test_help_names_every_suite_and_framework(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "run", "--help"])
    with pytest.raises(SystemExit) as exited:
        command.main()
    assert exited.value.code == 0
    shown = "".join(capsys.readouterr().out.split())
    assert all(name in shown for name in (*command.SUITES, *command.FRAMEWORKS))
