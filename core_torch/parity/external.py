"""A worker: an implementation in a process of its own, asked through standard input and output.

The protocol is written down in `docs/parity-protocol.md`, and as a JSON schema in `protocol.schema.json`.
"""

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

from core_torch.parity.arrays_file import read_arrays, write_arrays
from core_torch.parity.candidate import Arrays
from core_torch.parity.problem import Problem
from core_torch.spec.architecture import describe
from core_torch.spec.errors import DataFormatError

TIMEOUT_SECONDS = 300  # for one request; the longest, a tutorial epoch of 60,000 images, takes a few
LONGEST_LINE = 1_000_000  # characters of a reply
LONGEST_REASON = 1_000  # characters of an error
NOT_FINITE = ("NaN", "Infinity", "-Infinity")  # travel as texts, because JSON has no such numbers
WITH_LOSS = ("loss_and_gradients", "step")  # which have to answer with a number
SILENT = ("load", "set_learning_rate")  # which need not answer with arrays
EXIT_SECONDS = 5  # for a process that has closed its output to end by itself
SINGLE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
NO_ACCELERATOR = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


class WorkerError(Exception):
    """A worker died, hung, or answered with an exception."""


class ExternalWorker:
    """An implementation in its own process. Use as a context manager; implements `Candidate` by asking the process.

    Args:
        name: how messages call it.
        command: the program and its arguments; a folder for arrays is added at the end.
        environment: variables of the process, beside this process's own.
        timeout: seconds that a request may take.

    Raises:
        WorkerError: the command cannot be started.
    """

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str],
        environment: Mapping[str, str] = NO_ACCELERATOR,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self.name, self.timeout = name, timeout
        self.folder = tempfile.TemporaryDirectory(prefix="worker-")
        log = Path(self.folder.name) / "log.txt"
        self.log = open(log, "w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        own_settings = {"KERAS_HOME": self.folder.name}  # or another user's keras.json could decide
        try:
            self.process = subprocess.Popen(
                [*command, self.folder.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                text=True,
                errors="replace",
                env=os.environ | SINGLE_THREAD | QUIET | own_settings | dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            self.log.close()
            self.folder.cleanup()
            raise WorkerError(f"{name}: cannot be started ({error.strerror})") from error
        self.replies: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with self.process.stdout as stream:  # type: ignore[union-attr]
            while line := stream.readline(LONGEST_LINE):
                self.replies.put(line)
        self.replies.put("")

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, wait for its reply.

        Raises:
            WorkerError: the process died, did not answer in time, or raised.
        """
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            line = self.replies.get(timeout=self.timeout)
        except queue.Empty:
            self._kill()  # or a late reply would pass for that to the next request
            raise WorkerError(
                f"{self.name}: no answer within {self.timeout:g} s; did it flush its output after the line?"
            ) from None
        except OSError:
            line = ""
        if not line:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(EXIT_SECONDS)  # for its own exit code, not that of being killed
            self._kill()
            raise WorkerError(f"{self.name}: the process died ({self._last_words()})")
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            self._kill()
            raise WorkerError(f"{self.name}: answered {line[:80].strip()!r}, expected a JSON object")
        if "error" in reply:
            raise WorkerError(f"{self.name}: {str(reply['error'])[:LONGEST_REASON]}")
        return reply

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().splitlines() if line.strip()]
        return f"exit code {self.process.poll()}" + (f", last words: {lines[-1][:LONGEST_REASON]}" if lines else "")

    def prepare(self, problem: Problem, *, dtype: str = "float32", options: Mapping[str, object] | None = None) -> None:
        """Have the worker build the problem's model, loss and optimizer, in place of an earlier one.

        Args:
            options: further arguments of a Python worker's `build_candidate`.
        """
        case = {"model": describe(problem.architecture, layers=True), "dtype": dtype, "options": dict(options or {})}
        self.ask(do="prepare", case=case, recipe=problem.recipe.to_dict())

    def _call(self, method: str, arrays: Arrays | None = None, *, number: float | None = None) -> tuple[Any, Arrays]:
        folder = Path(self.folder.name)
        if arrays is not None:
            write_arrays(folder / "request.safetensors", arrays)
        sent = None if arrays is None else list(arrays)
        reply = folder / "reply.safetensors"
        reply.unlink(missing_ok=True)  # or the last answer would pass for this one
        found = self.ask(do="call", method=method, arrays=sent, number=number).get("number")
        if isinstance(found, str) and found in NOT_FINITE:
            found = float(found)
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if not is_number and (found is not None or method in WITH_LOSS):
            allowed = "a number, or NaN, Infinity or -Infinity as a text"
            raise WorkerError(f"{self.name}: {method} answered the number {found!r}, allowed: {allowed}")
        try:
            return found, read_arrays(reply) if reply.is_file() or method not in SILENT else {}
        except DataFormatError as error:
            raise WorkerError(f"{self.name}: {method}: {error}") from error

    def load(self, weights: Arrays) -> None:
        """See `Candidate`."""
        self._call("load", weights)

    def weights(self) -> Arrays:
        """See `Candidate`."""
        return self._call("weights")[1]

    def activations(self, inputs: np.ndarray) -> Arrays:
        """See `Candidate`."""
        return self._call("activations", {"inputs": inputs})[1]

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """See `Candidate`."""
        return self._call("loss_and_gradients", {"inputs": inputs, "targets": targets})

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """See `Candidate`."""
        loss: float = self._call("step", {"inputs": inputs, "targets": targets})[0]
        return loss

    def set_learning_rate(self, learning_rate: float) -> None:
        """See `Candidate`."""
        self._call("set_learning_rate", number=learning_rate)

    def optimizer_state(self) -> Arrays:
        """See `Candidate`."""
        return self._call("optimizer_state")[1]

    @property
    def is_alive(self) -> bool:
        """Whether it can still be asked."""
        return self.process.poll() is None

    def _kill(self) -> None:
        """End the process and everything it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End the process and everything it started, and remove its folder."""
        self._kill()
        for stream in (self.process.stdin, self.log):  # the reader closes the output, at its end
            # What could not be sent to a dead process is still in the stream and cannot be flushed.
            with suppress(OSError):
                if stream:
                    stream.close()
        self.folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
