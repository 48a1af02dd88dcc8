"""The inside of a worker process: one framework, one trial, requests on standard input.

A request is one line of JSON, {"do": ...}; so is a reply. Arrays travel as safetensors files in the folder that the
parent names; see `process` for the protocol. Whatever a framework prints goes to standard error, so that replies stay
clean.
"""

import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from benchmarks.arrays_file import read_arrays, write_arrays
from benchmarks.environment import PACKAGES, package_version
from benchmarks.trial import Case
from core_torch.contract.pixels import Split
from core_torch.contract.recipe import Recipe


class Server:
    """Answers requests about one trial."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trial: Any = None

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Import the framework and build the trial; the time that takes is reported, never compared."""
        split = Split(**read_arrays(self.folder / "split.safetensors"), name=request["name"])
        started = time.perf_counter()
        module = importlib.import_module(request["module"])
        self.trial = module.prepare(Case(**request["case"]), split, Recipe().with_changes(**request["recipe"]))
        return {"seconds": time.perf_counter() - started}

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """A method of the trial; arrays or a number in, arrays and a number out."""
        arguments: list[Any] = []
        if request.get("number") is not None:
            arguments.append(request["number"])
        if request["arrays"]:
            arrays = read_arrays(self.folder / "request.safetensors")
            arguments += [arrays] if request["method"] == "load" else [arrays[name] for name in request["arrays"]]
        result = getattr(self.trial, request["method"])(*arguments)
        number, arrays = None, {}
        match result:
            case (value, dict()):
                number, arrays = value, result[1]
            case dict():
                arrays = result
            case np.ndarray():
                arrays = {"result": result}
            case float() | int():
                number = float(result)
        write_arrays(self.folder / "reply.safetensors", arrays)
        return {"number": number}

    def time(self, request: dict[str, Any]) -> dict[str, Any]:
        """One epoch: wall seconds, processor seconds of this process and its children, images seen."""
        wall, processor = time.perf_counter(), _processor_seconds()
        images = self.trial.epoch(request["epoch"])
        return {
            "wall": time.perf_counter() - wall,
            "cpu": _processor_seconds() - processor,
            "images": images,
        }

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        """Versions of whatever is imported here, and the threads it may use."""
        return {
            "python": platform.python_version(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "versions": {name: package_version(name) for name in PACKAGES if name in sys.modules},
        }


def _processor_seconds() -> float:
    """Of this process, to the nanosecond, and of children it has waited for, which Linux counts by 10 ms."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def serve(folder: Path, requests: TextIO, replies: TextIO) -> None:
    """Answer until the input ends; an exception becomes a reply, so that the parent can name it."""
    server = Server(folder)
    for line in requests:
        request = json.loads(line)
        handler: Callable[[dict[str, Any]], dict[str, Any]] = getattr(server, request["do"])
        try:
            reply = handler(request)
        except Exception as error:  # the parent decides what a failure of any kind means
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    """`python -m benchmarks.worker FOLDER [CORE]`."""
    if len(sys.argv) > 2 and hasattr(os, "sched_setaffinity"):
        # One core: then no framework's thread pool can differ from another's.
        os.sched_setaffinity(0, {int(sys.argv[2])})
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Path(sys.argv[1]), sys.stdin, replies)


if __name__ == "__main__":
    main()
