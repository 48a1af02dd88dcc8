"""`make docs` makes a page of every module, with the guides in them, and complains about nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("core_torch", "lightning_impl", "keras_impl", "benchmarks")
LEFT_OUT = ("__main__.py", "loaders/tensorflow.py")  # a program; TensorFlow beside PyTorch aborts the interpreter
GUIDES = {
    "core_torch/objectives.html": "Hutchinson 1990",
    "benchmarks.html": "Processor time",
    "core_torch/parity.html": "Where ports part",
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that the Makefile's own command fills, and what it says."""
    folder = tmp_path_factory.mktemp("docs")
    quiet = ("--dry-run", "--always-make", "--no-print-directory")
    recipe = subprocess.run(["make", *quiet, "docs", f"OUTPUT={folder}"], cwd=ROOT, capture_output=True, text=True)
    command = re.search(r"KERAS_BACKEND=.*", recipe.stdout, re.DOTALL)
    assert command, recipe.stderr
    built = command[0].replace(".venv/bin/python", sys.executable)
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(built, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "docs", done.stderr


def test_every_module_has_a_page(pages):
    folder, _ = pages
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    modules = [path for path in modules if not path.as_posix().endswith(LEFT_OUT)]
    expected = [path.parent if path.stem == "__init__" else path.with_suffix("") for path in modules]
    missing = [str(path) for path in expected if not (folder / path.relative_to(ROOT)).with_suffix(".html").exists()]
    assert not missing


def test_every_public_name_is_found(pages):
    warnings = [line for line in pages[1].splitlines() if line.startswith("Warn:")]
    assert not [line for line in warnings if "Suppressed execution" not in line]


@pytest.mark.parametrize("page", GUIDES)
def test_the_guides_are_in_the_pages(pages, page):
    text = (pages[0] / page).read_text()
    assert re.sub(r"<[^>]+>", "", text).lower().count(GUIDES[page].lower())
