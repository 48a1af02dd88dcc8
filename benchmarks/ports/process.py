"""The outside of a worker process: starts it, asks it, notices when it dies or hangs, and cleans up after it.

The protocol, for a worker in any language. It is started as `COMMAND... FOLDER`, reads a line of JSON from standard
input for each request, and answers each with a line of JSON on standard output, and nothing else there:

    {"do": "prepare", "case": {"model": ARCHITECTURE, "dtype": "float32", ...}, "recipe": {...}, ...}   ->  {}
    {"do": "call", "method": METHOD, "number": null, "arrays": ["inputs", "targets"]}   ->  {"number": 0.25}

METHOD is one of `Candidate`'s. Arrays go there in FOLDER/request.safetensors and come back in
FOLDER/reply.safetensors; `arrays` names those that were sent, or is null; `number` is the argument of
`set_learning_rate`, and of a reply the loss, or null. Every method but `load` and `set_learning_rate` has to write
reply.safetensors anew, be it empty. A reply {"error": "what is wrong"} refuses. End of input means: end.

ARCHITECTURE is what `describe` of `core_torch.spec.architecture` makes, its "kind" FullyConnected or
Convolutional; the recipe has the fields of `core_torch.spec.recipe.Recipe`. Activations are {"output": ...} at
least.
"""

import json
import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ports.timed_port import Arrays, Case
from benchmarks.timing.clocks import LARGEST_HIDDEN, Stopwatch
from benchmarks.timing.intervals import Sample
from core_torch.files.splits import Split
from core_torch.parity.arrays_file import read_arrays, write_arrays
from core_torch.spec.errors import DataFormatError
from core_torch.spec.recipe import Recipe

TIMEOUT_SECONDS = 300  # for one request; the longest, a tutorial epoch of 60,000 images, takes a few
PROFILED_STEPS = (5, 30, 2.0)  # at least; at most; no more after so many seconds
# Of a sample: a loader whose epoch takes 10 ms would slip between the disturbances that a slower one averages over.
LEAST_SECONDS = 0.15
LONGEST_LINE = 1_000_000  # characters of a reply
LONGEST_REASON = 1_000  # characters of an error
SILENT = ("load", "set_learning_rate")  # which need not answer with arrays
EXIT_SECONDS = 5  # for a process that has closed its output to end by itself
SINGLE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}
# glibc hands large blocks back to the kernel and faults them in again, at a third of a convolutional step, or keeps
# them, as chance has it: the same route measured 1.5 times faster for having imported Lightning. Here all keep them.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore", "KERAS_HOME": tempfile.gettempdir()}


class WorkerError(Exception):
    """A worker died, hung, or answered with an exception."""


class Worker:
    """An implementation in its own process. Use as a context manager; implements `Trial` by asking the process.

    Args:
        name: framework/route, as tables print it.
        module: the route module to import there; of Python's own worker.
        command: a worker in any language, in place of Python's.
        device: `cpu` hides every accelerator from the framework.
        environment: variables set before the framework is imported.
        pinned: run on one core; a loader with workers of its own is not. Of Python's own worker.
        timeout: seconds that a request may take.

    Raises:
        WorkerError: the command cannot be started.
    """

    def __init__(
        self,
        name: str,
        *,
        module: str = "",
        command: Sequence[str] = (),
        device: str = "cpu",
        environment: dict[str, str] | None = None,
        pinned: bool = True,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self.name, self.module, self.timeout = name, module, timeout
        self.first: Sample | None = None  # the first epoch since `prepare`, compilation included
        self.hidden = math.inf  # see `check_clocks`
        self.folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        hidden = {} if device.startswith("cuda") else {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
        core = [str(min(os.sched_getaffinity(0)))] if pinned and sys.platform == "linux" else []
        log = Path(self.folder.name) / "log.txt"
        self.log = open(log, "w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        own = [sys.executable, "-m", "benchmarks.ports.worker", self.folder.name, module, *core]
        try:
            self.process = subprocess.Popen(
                [*command, self.folder.name] if command else own,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                text=True,
                errors="replace",
                env=os.environ | SINGLE_THREAD | KEEP_MEMORY | QUIET | hidden | (environment or {}),
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
            raise WorkerError(f"{self.name}: no answer within {self.timeout:g} s") from None
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

    def prepare(self, case: Case, split: Split, recipe: Recipe) -> dict[str, Any]:
        """Send the data; the worker builds the trial, in place of an earlier one."""
        self.first = None
        write_arrays(Path(self.folder.name) / "split.safetensors", {"images": split.images, "labels": split.labels})
        return self.ask(
            do="prepare", case=asdict(case), module=self.module, name=split.name, recipe=recipe.to_dict()
        )

    def _call(self, method: str, arrays: Arrays | None = None, *, number: float | None = None) -> tuple[Any, Arrays]:
        folder = Path(self.folder.name)
        if arrays is not None:
            write_arrays(folder / "request.safetensors", arrays)
        sent = None if arrays is None else list(arrays)
        reply = folder / "reply.safetensors"
        reply.unlink(missing_ok=True)  # or the last answer would pass for this one
        found = self.ask(do="call", method=method, arrays=sent, number=number).get("number")
        if found is not None and (isinstance(found, bool) or not isinstance(found, (int, float))):
            raise WorkerError(f"{self.name}: {method} answered the number {found!r}")
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
        return self._call("step", {"inputs": inputs, "targets": targets})[0]

    def set_learning_rate(self, learning_rate: float) -> None:
        """See `Candidate`."""
        self._call("set_learning_rate", number=learning_rate)

    def optimizer_state(self) -> Arrays:
        """See `Candidate`."""
        return self._call("optimizer_state")[1]

    def epoch(self, epoch: int) -> int:
        """See `Trial`."""
        return self._clocked(epoch, least=0.0).images

    def time(self, epoch: int) -> Sample:
        """One epoch, or as many as take `LEAST_SECONDS`, by the worker's own clocks; the first time one."""
        return self._clocked(epoch, least=LEAST_SECONDS if self.first else 0.0)

    def _clocked(self, epoch: int, *, least: float) -> Sample:
        stopwatch = Stopwatch(self.process.pid)
        sample = Sample(**self.ask(do="time", epoch=epoch, least=least))
        self.hidden = min(self.hidden, stopwatch.hidden(sample))
        self.first = self.first or sample
        return sample

    def check_clocks(self) -> None:
        """Raise `WorkerError` if the worker's clocks never agreed with those here while it was timed."""
        if self.hidden < 0:
            raise WorkerError(f"{self.name}: its clock told of more time than had passed")
        if LARGEST_HIDDEN < self.hidden < math.inf:
            raise WorkerError(f"{self.name}: its clocks told of {1 - self.hidden:.0%} of the time that had passed")

    def profile(self, *, batch_size: int) -> dict[str, Any]:
        """What the worker says of itself, for the `profiles` of results.json; it trains on while it is asked.

        {"step", "data"}: seconds by the clocks of a step alone, on a batch at hand, and of the delivery alone of an
        epoch's batches, where the route can tell.
        """
        row = self.ask(do="profile", batch_size=batch_size, steps=PROFILED_STEPS)
        walls = row.pop("step_walls", None)
        if walls:
            row["step_seconds_p50"], row["step_seconds_p95"] = map(float, np.quantile(walls, [0.5, 0.95]))
        return row | ({"first_epoch_seconds": self.first.wall} if self.first else {})

    def checksums(self, epoch: int) -> np.ndarray:
        """See `LoadingTrial`."""
        return self._call("checksums", number=epoch)[1]["result"]

    def figures(self) -> Arrays:
        """See `Calibration`."""
        return self._call("figures")[1]

    def error(self) -> float:
        """See `QualityTrial`."""
        return self._call("error")[0]

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

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
