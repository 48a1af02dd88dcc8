"""The inside of a worker process: one candidate, requests on standard input.

See docs/parity-protocol.md for the protocol. Whatever a framework prints goes to standard error, so that replies stay
clean.
"""

import argparse
import importlib
import json
import math
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from core_torch.parity.arrays_file import read_arrays, write_arrays
from core_torch.spec.architecture import architecture_from
from core_torch.spec.recipe import Recipe

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class Server:
    """Answers requests about one candidate."""

    def __init__(self, folder: Path, module: str) -> None:
        self.folder, self.module = folder, module
        self.candidate: Any = None

    def handlers(self) -> dict[str, Handler]:
        """{what a request asks for: the method that answers it}."""
        return {"prepare": self.prepare, "call": self.call}

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Build the candidate of the request's architecture, recipe and dtype."""
        case = request["case"]
        recipe = Recipe().with_changes(**request["recipe"])
        build = importlib.import_module(self.module).build_candidate
        self.candidate = build(architecture_from(case["model"]), recipe, dtype=case["dtype"], **case.get("options", {}))
        return {}

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Call a method of the candidate: arrays or a number in, arrays and a number out."""
        arguments: list[Any] = []
        if request.get("number") is not None:
            arguments.append(request["number"])
        if request["arrays"]:
            arrays = read_arrays(self.folder / "request.safetensors")
            arguments += [arrays] if request["method"] == "load" else [arrays[name] for name in request["arrays"]]
        result = getattr(self.candidate, request["method"])(*arguments)
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
        is_finite = number is None or math.isfinite(number)
        return {"number": number if is_finite else json.dumps(number)}  # JSON has no NaN; it travels as a text


def serve(server: Server, requests: TextIO, replies: TextIO) -> None:
    """Answer until the input ends; an exception becomes a reply, so that the parent can name it."""
    handlers = server.handlers()
    for line in requests:
        request = json.loads(line)
        try:
            reply = handlers[request["do"]](request)
        except Exception as error:  # the parent decides what a failure of any kind means
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def serve_standard_input(server: Server, *then: Callable[[], None]) -> None:
    """Answer on standard output, which nothing else can write to from here on.

    The module is imported at once; `then` is called after that and before the first answer.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with suppress(Exception):  # `prepare` reports it
        importlib.import_module(server.module)
    for call in then:
        call()
    serve(server, sys.stdin, replies)


def main() -> None:
    """`python -m core_torch.parity.worker MODULE FOLDER`."""
    parser = argparse.ArgumentParser(prog="python -m core_torch.parity.worker")
    parser.add_argument("module")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    serve_standard_input(Server(options.folder, options.module))


if __name__ == "__main__":
    main()
