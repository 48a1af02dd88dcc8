"""The root conftest.py keeps TensorFlow and triton in one process alive; without it that process dies."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"
TENSORFLOW_FIRST = """
def test_tensorflow_before_triton():
    import tensorflow
    import triton
    assert int(tensorflow.constant(2) + 3) == 5
"""


@pytest.fixture
def run_tensorflow_first(tmp_path):
    """Runs pytest in a process of its own on a test that imports TensorFlow, then triton."""
    for name in ("tensorflow", "triton"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed, so there is no order to guard")

    def run(*files: Path) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_tensorflow_first.py").write_text(TENSORFLOW_FIRST)
        for file in files:
            shutil.copy(file, tmp_path)
        command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", tmp_path, tmp_path]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return run


def test_a_test_may_import_tensorflow_before_triton(run_tensorflow_first):
    done = run_tensorflow_first(CONFTEST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_without_the_guard_the_process_dies(run_tensorflow_first):
    done = run_tensorflow_first()
    if done.returncode == 0:
        both = f"TensorFlow {version('tensorflow')} and triton {version('triton')}"
        pytest.skip(f"{both} load in either order: the guard in conftest.py can go")
    assert done.returncode < 0, f"expected death by a signal, found: {done.stdout}{done.stderr}"


def test_the_guard_loads_nothing_by_itself():
    loaded = "{'triton', 'tensorflow'} & {*sys.modules}"
    script = f"import runpy, sys; runpy.run_path({str(CONFTEST)!r}); print({loaded})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
