"""The pytest plugin, in the tests of somebody who has nothing but NumPy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MY_TESTS = """
import pytest
from core_torch.parity.bugs.catalogue import BUGS, Bug

@pytest.mark.parity("deep-contractive", levels=("shapes", "outputs", "loss", "gradients"))
def test_right(parity, parity_reference):
    parity(Bug("").candidate(parity_reference("deep-contractive").problem), name="mine")

@pytest.mark.parity("shallow-standard")
def test_wrong(parity, parity_reference):
    parity(BUGS["rate doubled"].candidate(parity_reference("shallow-standard").problem), name="theirs")

def test_without_a_name(parity):
    parity(None)

@pytest.mark.parity("shallow-standard")
def test_forgetful(parity):
    pass

@pytest.mark.parity("shallow-standard")
def test_not_installed(parity, monkeypatch):
    from core_torch.parity.known_ports import KNOWN_PORTS, KnownPort
    monkeypatch.setitem(KNOWN_PORTS, "keras-jax", KnownPort("keras_impl.candidate", package="nowhere_to_be_found"))
    parity("keras-jax")
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "test_mine.py").write_text(MY_TESTS)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *arguments]
        if "core_torch.parity.plugin" not in plugins():
            command += ["-p", "core_torch.parity.plugin"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def plugins() -> set[str]:
    from importlib.metadata import entry_points

    return {entry.value for entry in entry_points(group="pytest11")}


def test_a_marked_test_that_compares_nothing_is_red(run):
    found = run("-k", "forgetful")
    assert found.returncode == 1
    assert "nothing was compared" in found.stdout


def test_a_right_port_is_green_and_recorded(run, tmp_path):
    found = run("-k", "right", "--parity-report", str(tmp_path / "report"), "--parity-require", "mine")
    assert found.returncode == 0, found.stdout
    (record,) = json.loads((tmp_path / "report" / "parity.json").read_text())
    assert (record["candidate"], record["passed"], record["dtype"], record["steps"]) == ("mine", True, "float32", "all")
    assert [check["check"] for check in record["checks"]] == ["shapes", "outputs", "loss", "gradients"]


def test_a_wrong_port_is_red_with_its_diagnosis(run, tmp_path):
    found = run("-k", "wrong", "--parity-report", str(tmp_path / "report"))
    assert found.returncode == 1
    assert "the learning rate is twice the recipe's" in found.stdout
    assert json.loads((tmp_path / "report" / "parity.json").read_text())[0]["passed"] is False


def test_steps_are_an_option(run, tmp_path):
    assert run("-k", "right", "--parity-steps", "100", "--parity-report", str(tmp_path)).returncode == 0
    assert json.loads((tmp_path / "parity.json").read_text())[0]["steps"] == 100


def test_a_test_without_a_name_is_told_so(run):
    assert "parity needs @pytest.mark.parity" in run("-k", "without").stdout


def test_a_framework_that_is_not_installed_skips_unless_it_is_required(run):
    skipped = run("-k", "installed")
    assert skipped.returncode == 0
    assert "keras-jax needs the package" in skipped.stdout
    required = run("-k", "installed", "--parity-require", "keras-jax,mine")
    assert required.returncode == 1
    assert "parity: keras-jax was required and never passed" in required.stdout
    assert "parity: mine was required" in required.stdout
