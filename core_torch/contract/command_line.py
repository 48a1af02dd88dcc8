"""What the commands share: one-line errors, exit code 2, and the options that mean the same everywhere."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from core_torch.contract.errors import ConfigError, UserError
from core_torch.contract.pixels import DATASETS
from core_torch.contract.weights_file import write_atomically


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
    """Judge --output, a folder, and --json before a long run, creating nothing; `ConfigError` if they cannot be."""
    if getattr(options, "output", None) is not None:
        check_folder("output", options.output)
    if options.json is not None:
        check_file("json", options.json)


def check_folder(name: str, path: str) -> None:
    """`ConfigError` unless the folder is there and can be written to, or can be made."""
    folder = Path(path).absolute()
    existing = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    _check_writable(name, path, existing)


def check_file(name: str, path: str) -> None:
    """`ConfigError` unless the file can be written."""
    if path and Path(path).is_dir():
        raise ConfigError(f"{name}: found the folder {path}, allowed: a file")
    _check_writable(name, path, Path(path).absolute().parent)


def _check_writable(name: str, path: str, folder: Path) -> None:
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


def report(values: Mapping[str, object], *, json_file: str | None) -> None:
    """Print a line a value, and write them as JSON where asked."""
    for name, value in values.items():
        print(f"{name:26} {value:.6g}" if isinstance(value, float) else f"{name:26} {value}")
    if json_file is not None:
        write_json(Path(json_file), values)


def write_json(path: Path, values: object) -> None:
    """Atomically, with a newline at the end."""
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())


def run(command: Callable[[], int | None], *, program: str) -> NoReturn:
    """Run a command and exit: 0 or what it returns, 2 and one line for a `UserError`, 130 if interrupted."""
    try:
        code = command() or 0
        sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:  # who was reading has left, as `head` does; nor can Python's own last flush reach them
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except UserError as error:
        line = " ".join(str(error).split())
        print(f"{program}: error: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(130)
