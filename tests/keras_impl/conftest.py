"""Keras on its three backends: one process for each does the work of every file here, in a folder for each file."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BACKENDS = ("tensorflow", "jax", "torch")


class BackendProcess:
    """See `backend_process`; `folder` holds its log."""

    def __init__(self, backend: str, folder: Path) -> None:
        self.log = folder / "log.txt"
        self.answers: dict[str, str | None] = {}
        environment = {
            "KERAS_BACKEND": backend,
            "KERAS_HOME": str(folder),
            "CUDA_VISIBLE_DEVICES": "",
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),  # the same programs come again and again
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "OMP_NUM_THREADS": "1",  # the models are so small that threads would only wait for each other
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, str(Path(__file__).with_name("backend_process.py"))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, env=os.environ | environment, stderr=log, **pipes)

    def ask(self, module: str, folder: Path) -> None:
        """Let it run the module's `work`."""
        self.process.stdin.write(json.dumps([f"tests.keras_impl.{module}", str(folder)]) + "\n")

    def failure(self, folder: Path) -> str | None:
        """Wait for the work of this folder; return what went wrong."""
        while str(folder) not in self.answers:
            line = self.process.stdout.readline()
            if not line:
                return f"the process ended: {self.log.read_text()[-4000:]}"
            self.answers |= json.loads(line)
        return self.answers[str(folder)]

    def end(self) -> None:
        """Kill it, whatever it does."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="session")
def processes(tmp_path_factory) -> Iterator[dict[str, BackendProcess]]:
    """All three, which work at the same time."""
    started = {backend: BackendProcess(backend, tmp_path_factory.mktemp(f"{backend}-home")) for backend in BACKENDS}
    yield started
    for process in started.values():
        process.end()


@pytest.fixture(scope="module")
def folders(request, processes, tmp_path_factory) -> dict[str, Path]:
    """A folder for each backend, to which the file's own `prepare` came first and its `work` comes then."""
    prepare = getattr(request.module, "prepare", lambda folder: None)
    made = {backend: tmp_path_factory.mktemp(backend) for backend in BACKENDS}
    for backend, folder in made.items():
        prepare(folder)
        processes[backend].ask(Path(request.module.__file__).stem, folder)
    return made


@pytest.fixture(scope="module", params=BACKENDS)
def results(request, processes, folders) -> Path:
    """The folder that a backend's process has filled."""
    folder = folders[request.param]
    failure = processes[request.param].failure(folder)
    assert failure is None, failure
    return folder
