"""The wheel breaks nobody's tests, works without a framework, and names the extra that a command lacks."""

import re
import tarfile
from importlib.metadata import packages_distributions
from pathlib import Path, PurePosixPath

import pytest
from packaging.utils import canonicalize_name

from core_torch.spec.extras import DISTRIBUTION, EXTRA_OF
from tests.house.installation import ROOT, Installation, build, needed

PACKAGES = {"core_torch", "lightning_impl", "keras_impl"}
# Run by its path, pytest leaves the current folder out of the import path, as its own command does.
PYTEST = {"pytest": ("bin/pytest",), "python -m pytest": ("-m", "pytest")}
CONFTEST = """
import pytest

@pytest.fixture
def golden():
    return "theirs"
"""
THEIR_TESTS = """
import sys
from pathlib import Path

def test_nothing_was_loaded_before_a_fixture_is_used():
    assert not {"numpy", "safetensors", "core_torch.parity.assertion"} & {*sys.modules}

def test_their_own_benchmarks_are_imported():
    import benchmarks.timings
    assert Path(benchmarks.timings.__file__).parent == Path(__file__).parents[1] / "benchmarks"

def test_their_own_fixture_is_used(golden):
    assert golden == "theirs"
"""
PORT_TESTS = """
import runpy
from importlib.util import find_spec
from pathlib import Path
import pytest

PORT = runpy.run_path(Path(__file__).with_name("port.py"))["Port"]  # whose last lines call assert_parity

@pytest.mark.parity("shallow-standard")
def test_a_right_port_passes(parity, parity_reference):
    parity(PORT(parity_reference("shallow-standard").problem.recipe))
    assert find_spec("torch") is None

@pytest.mark.parity("shallow-standard")
def test_a_wrong_port_fails(parity, parity_reference):
    port = PORT(parity_reference("shallow-standard").problem.recipe)
    port.loss_and_gradients = lambda *batch: (0.0, PORT.loss_and_gradients(port, *batch)[1])
    with pytest.raises(AssertionError, match="at the level loss"):
        parity(port)
"""


def write_project(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run_pytest(environment: Installation, way: str, *, folder: Path):
    first, *rest = PYTEST[way]
    if not rest:
        first = environment.python.parents[1] / first
        first.write_text("from pytest import console_main\nraise SystemExit(console_main())\n")
    return environment.run(first, *rest, "-q", "-p", "no:cacheprovider", folder=folder)


def test_the_wheel_installs_only_what_is_ours(base):
    installed = {path.name for path in base.site.iterdir() if not path.is_symlink()}
    assert {name for name in installed if "dist-info" not in name} - {"__pycache__"} == PACKAGES
    assert all((base.site / package / "py.typed").exists() for package in PACKAGES)


def test_the_extra_that_is_named_installs_the_package(base):
    homes = packages_distributions()
    for package, extra in EXTRA_OF.items():
        installed = needed([f"{DISTRIBUTION}[{extra}]"], ours=base.site)
        assert {canonicalize_name(home) for home in homes[package]} & {*installed}, package


def test_the_source_distribution_holds_the_harness_too(tmp_path):
    with tarfile.open(build(tmp_path, target="sdist")) as archive:
        top = {path.parts[1] for path in map(PurePosixPath, archive.getnames())}
    assert top >= PACKAGES | {"benchmarks", "tests", "Makefile", "README.md", "pyproject.toml", "constraints.txt"}
    assert not {".venv", ".git", "out"} & top


@pytest.mark.parametrize("way", PYTEST)
@pytest.mark.parametrize("packages", [(), ("benchmarks",), ("tests",), ("benchmarks", "tests")], ids=" and ".join)
def test_a_project_with_its_own_benchmarks_and_tests_is_left_alone(base, tmp_path, packages, way):
    files = {f"{package}/__init__.py": "" for package in packages}
    files |= {"conftest.py": CONFTEST, "benchmarks/timings.py": "", "tests/test_theirs.py": THEIR_TESTS}
    done = run_pytest(base, way, folder=write_project(tmp_path, files))
    assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize("way", PYTEST)
def test_a_numpy_port_is_checked_without_a_framework(base, tmp_path, way):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (port,) = (block for block in blocks if "class Port" in block)
    done = run_pytest(base, way, folder=write_project(tmp_path, {"port.py": port, "test_port.py": PORT_TESTS}))
    assert (done.returncode, "2 passed" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkpoint(with_torch, tmp_path_factory) -> Path:
    """Trained by the extra `torch` alone, which leaves out the pictures and says so."""
    folder = tmp_path_factory.mktemp("trained")
    done = with_torch.run("-m", "core_torch", "train", "--epochs", "1", "--output", "run", folder=folder)
    assert (done.returncode, done.stderr) == (0, "no figures: matplotlib is not installed\n")
    return folder / "run"


BASE_LACKS = {
    "core_torch train": "torch",
    "core_torch sweep": "torch",
    "core_torch evaluate CHECKPOINT": "torch",
    "core_torch encode CHECKPOINT --output codes.npz": "torch",
    "core_torch figures CHECKPOINT": "figures",
    "core_torch.parity check shallow-standard core_torch": "torch",
    "lightning_impl fit": "lightning",
    "keras_impl train": "tensorflow",
    "keras_impl evaluate CHECKPOINT": "tensorflow",
}
TORCH_LACKS = {
    "core_torch train --tensorboard events": "tensorboard",
    "core_torch evaluate CHECKPOINT --probe": "evaluation",
    "core_torch figures CHECKPOINT": "figures",
    "core_torch.parity check shallow-standard lightning": "lightning",
    "core_torch.parity check shallow-standard keras-jax": "jax",
    "lightning_impl fit": "lightning",
    "lightning_impl validate": "lightning",
    "lightning_impl test": "lightning",
    "lightning_impl predict": "lightning",
    "keras_impl train": "tensorflow",
    "keras_impl evaluate CHECKPOINT": "tensorflow",
}


def assert_it_names(extra: str, command: list[str], environment: Installation, *, folder: Path, **variables: str):
    """Run a command, which exits with 2 and one line, and writes nothing."""
    done = environment.run("-m", *command, folder=folder, **variables)
    assert done.returncode == 2, done.stdout + done.stderr
    expected = rf"python -m {command[0]}: error: \w+: not installed, allowed: pip install [\w-]+\[{extra}\]\n"
    assert re.fullmatch(expected, done.stderr), done.stderr
    assert not any(folder.iterdir())


@pytest.mark.parametrize("command", BASE_LACKS)
def test_without_an_extra_a_command_names_the_one_that_it_lacks(base, checkpoint, tmp_path, command):
    words = command.replace("CHECKPOINT", str(checkpoint)).split()
    assert_it_names(BASE_LACKS[command], words, base, folder=tmp_path)


@pytest.mark.parametrize("command", TORCH_LACKS)
def test_with_torch_alone_a_command_names_the_extra_that_it_lacks(with_torch, checkpoint, tmp_path, command):
    words = command.replace("CHECKPOINT", str(checkpoint)).split()
    assert_it_names(TORCH_LACKS[command], words, with_torch, folder=tmp_path)


def test_the_harness_runs_from_a_checkout_and_names_the_extra_that_it_lacks(with_torch, tmp_path):
    command = ["benchmarks", "run", "--frameworks", "core_torch"]
    assert_it_names("benchmark", command, with_torch, folder=tmp_path, PYTHONPATH=str(ROOT))


@pytest.mark.parametrize(("backend", "extra"), [("jax", "jax"), ("torch", "keras")])
def test_each_backend_of_keras_has_its_extra(with_torch, tmp_path, backend, extra):
    assert_it_names(extra, ["keras_impl", "train"], with_torch, folder=tmp_path, KERAS_BACKEND=backend)
