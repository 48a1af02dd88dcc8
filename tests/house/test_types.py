"""The types of public names reach a project that installs the wheel."""

import re
import subprocess
import sys

import pytest

import core_torch
import core_torch.parity

PACKAGES = {"core_torch": core_torch.__all__, "core_torch.parity": core_torch.parity.__all__}
REVEALED = [f"{package}.{name}" for package, names in PACKAGES.items() for name in names]
CALLS = """
core_torch.train(1, 2, 3, nonsense=5)
core_torch.parity.assert_parity("shallow-standard", nonsense=5)
core_torch.nonsense
"""
SIGNATURE = (
    "def (model: core_torch.models.autoencoder.Autoencoder, dataset: core_torch.data.resident.ResidentDataset, *, "
    "recipe: core_torch.spec.recipe.Recipe | None =, "
)


@pytest.fixture(scope="module")
def output(with_torch, tmp_path_factory) -> list[str]:
    """What mypy says, line by line, about a program that reveals every public name and then makes three mistakes."""
    folder = tmp_path_factory.mktemp("project")
    imports = "".join(f"import {package}\n" for package in PACKAGES)
    (folder / "program.py").write_text(imports + "".join(f"reveal_type({name})\n" for name in REVEALED) + CALLS)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", with_torch.python, "program.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def test_every_public_name_has_a_type(output):
    types = [found[1] for line in output if (found := re.search(r'Revealed type is "(.*)"', line))]
    assert len(types) == len(REVEALED)
    assert [name for name, found in zip(REVEALED, types) if found == "Any"] == []


def test_train_is_its_signature(output):
    line = output[REVEALED.index("core_torch.train")]
    assert SIGNATURE in line and line.endswith('-> core_torch.training.history.History"')


def test_a_wrong_call_is_an_error(output):
    errors = "\n".join(line for line in output if " error: " in line)
    assert 'Unexpected keyword argument "nonsense" for "train"' in errors
    assert 'Argument 1 to "train" has incompatible type "int"; expected "Autoencoder"' in errors
    assert 'Unexpected keyword argument "nonsense" for "assert_parity"' in errors
    assert 'Module has no attribute "nonsense"' in errors
