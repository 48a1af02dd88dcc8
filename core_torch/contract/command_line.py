"""What the commands share: one-line errors, exit code 2, and the options that mean the same everywhere."""

import argparse
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from core_torch.contract.errors import ConfigError, UserError
from core_torch.contract.pixels import DATASETS


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line and suggest the nearest option; no abbreviations."""

    def __init__(self, **options: object) -> None:
        super().__init__(**({"allow_abbrev": False} | options))  # type: ignore[arg-type]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's, but what is left over is an error, so that a subcommand suggests its own options."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with code 2."""
        message = " ".join(message.split())
        unknown = message.removeprefix("unrecognized arguments: ").split(" ")[0]
        options = self._option_string_actions if unknown.startswith("--") else ()
        close = get_close_matches(unknown, options, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        self.exit(2, f"{self.prog}: error: {message}{hint}\n")


def add_data_options(parser: argparse.ArgumentParser, *, dataset: str | None = "digits") -> None:
    """--dataset and --data-root; without a default, a command takes what its model was trained on."""
    default = dataset or "what it was trained on"
    known = f"one of {', '.join(DATASETS)} (default {default})"
    parser.add_argument("--dataset", default=dataset, help=known)
    root = "folder that holds MNIST/raw (default $MNIST_ROOT or ./data)"
    parser.add_argument("--data-root", metavar="DIR", help=root)


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """--device."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default auto: cuda if any)")


def check_results(options: argparse.Namespace) -> None:
    """Judge --output and --json before a long run, creating nothing; `ConfigError` if they cannot be."""
    if getattr(options, "output", None) is not None:
        folder = Path(options.output).absolute()
        existing = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
        _check_folder("output", options.output, existing)
    if options.json and Path(options.json).is_dir():
        raise ConfigError(f"json: found the folder {options.json}, allowed: a file")
    if options.json is not None:
        _check_folder("json", options.json, Path(options.json).absolute().parent)


def _check_folder(name: str, path: str, folder: Path) -> None:
    if not path or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{name}: {path or 'an empty path'} cannot be written to, see {folder}")


def prepare_output(folder: str | Path) -> Path:
    """Create the folder and prove that it can be written to; `ConfigError` if not."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"output: {path} cannot be written to ({error.strerror})") from error
    return path


def run(command: Callable[[], int | None], *, program: str) -> NoReturn:
    """Run a command and exit: 0 or what it returns, 2 and one line for a `UserError`, 130 if interrupted."""
    try:
        sys.exit(command() or 0)
    except UserError as error:
        line = " ".join(str(error).split())
        print(f"{program}: error: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(130)
