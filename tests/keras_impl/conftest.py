"""Keras on its three backends: each runs the test file as a script, in a process and a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BACKENDS = ("tensorflow", "jax", "torch")


@pytest.fixture(scope="module")
def processes(request, tmp_path_factory) -> Iterator[dict[str, tuple[subprocess.Popen, Path]]]:
    """A process for each backend, all at work at once, in folders to which the file's own `prepare` came first."""
    started = {}
    prepare = getattr(request.module, "prepare", lambda folder: None)
    for backend in BACKENDS:
        folder = tmp_path_factory.mktemp(backend)
        prepare(folder)
        environment = {
            "KERAS_BACKEND": backend,
            "KERAS_HOME": str(folder),
            "CUDA_VISIBLE_DEVICES": "",
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "OMP_NUM_THREADS": "1",  # the models are so small that threads would only wait for each other
            "PYTHONPATH": str(ROOT),
        }
        with open(folder / "log.txt", "w") as log:
            command = [sys.executable, request.module.__file__, str(folder)]
            process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
        started[backend] = process, folder
    yield started
    for process, _ in started.values():
        process.kill()
        process.wait()


@pytest.fixture(scope="module", params=BACKENDS)
def results(request, processes) -> Path:
    """The folder that a backend's process has filled."""
    process, folder = processes[request.param]
    assert process.wait() == 0, (folder / "log.txt").read_text()[-4000:]
    return folder
