"""What the commands share: one-line errors, exit code 2, and the options that mean the same everywhere."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from core_torch.files.outputs import check_file, check_folder, write_json
from core_torch.files.splits import DATASETS
from core_torch.files.weights import MANIFEST_NAME, WEIGHTS_NAME
from core_torch.spec.errors import ConfigError, UserError, check_choice
from core_torch.spec.extras import EXTRA_OF, not_installed

INPUTS = ("checkpoint", "against", "recipe", "old", "new", "results")  # options that name what a command reads


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line and suggest the nearest command or option; no abbreviations."""

    def __init__(self, **options: Any) -> None:
        self.option_names: list[str] = []  # from which a suggestion is made
        self.commands: Mapping[str, argparse.ArgumentParser] = {}
        super().__init__(**({"allow_abbrev": False} | options))

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """Add an option as argparse does, and remember its names."""
        action = super().add_argument(*names, **options)
        self.option_names += action.option_strings
        return action

    def add_subparsers(self, **options: Any) -> Any:
        """Add commands as argparse does, and remember where they will be."""
        subparsers = super().add_subparsers(**options)
        self.commands = subparsers.choices
        return subparsers

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse as argparse does; an unknown command or option is an error, so that each parser suggests its own."""
        given = sys.argv[1:] if args is None else list(args)
        if self.commands and given and not given[0].startswith("-"):
            try:
                check_choice("command", given[0], self.commands)
            except ConfigError as error:
                self.error(str(error))
        parsed, unknown = super().parse_known_args(given, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with code 2."""
        message = " ".join(message.split())
        unknown = message.removeprefix("unrecognized arguments: ").split(" ")[0]
        options = self.option_names if unknown.startswith("--") else ()
        close = get_close_matches(unknown, options, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        self.exit(2, f"{self.prog}: error: {message}{hint}\n")


def add_data_options(parser: argparse.ArgumentParser, *, dataset: str | None = "digits") -> None:
    """Add --dataset and --data-root; without a default, a command takes what its model was trained on."""
    default = dataset or "what it was trained on"
    known = f"one of {', '.join(DATASETS)} (default {default})"
    parser.add_argument("--dataset", default=dataset, help=known)
    root = "folder that holds MNIST/raw (default $MNIST_ROOT or ./data)"
    parser.add_argument("--data-root", metavar="DIR", help=root)


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default auto: cuda if any)")


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", metavar="FILE", help="also write the printed values there")


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add what a command takes that loads a trained model: the folder, a dataset, the device, --json."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a folder that train --output of any port wrote")
    add_data_options(parser, dataset=None)
    add_device_option(parser)
    add_json_option(parser)


def check_results(options: argparse.Namespace, *, files: Sequence[str] = ()) -> None:
    """Check --output, a folder, and --json before a long run, creating nothing.

    Raises `ConfigError` if they cannot be written, or if --json would replace what the command reads.

    Args:
        files: that are to be written into the output folder.
    """
    made: list[Path] = []  # folders that are there once there is output
    taken: list[Path] = []
    if getattr(options, "output", None) is not None:
        check_folder("output", options.output)
        output = Path(options.output).resolve()
        made = [output, *output.parents]
        taken = [*made, *(output / name for name in files)]
        for file in (Path(options.output) / name for name in files):
            check_folder("output", str(file.parent))
            if os.path.isdir(file):
                raise ConfigError(f"output: found the folder {file}, allowed: a file")
    if options.json is not None:
        path = Path(options.json).resolve()
        if options.json and path in taken:
            raise ConfigError(f"json: found {options.json}, which --output takes, allowed: another file")
        if os.path.exists(path.parent) or path.parent not in made:
            check_json(options)


def check_json(options: argparse.Namespace) -> None:
    """Raise `ConfigError` for a --json that cannot be written, or that would replace what the command reads."""
    check_file("json", options.json)
    if Path(options.json).resolve() in _inputs(options):
        raise ConfigError(f"json: found {options.json}, which the command reads, allowed: another file")


def _inputs(options: argparse.Namespace) -> set[Path]:
    """Return the files that the options name, and those of a checkpoint that they name."""
    named = (getattr(options, name, None) for name in INPUTS)
    paths = [Path(each).resolve() for each in named if isinstance(each, str) and each]
    return {*paths, *(path / name for path in paths for name in (WEIGHTS_NAME, MANIFEST_NAME))}


def report(values: Mapping[str, object], *, json_file: str | None) -> None:
    """Print a line a value, and write them as JSON where asked."""
    for name, value in values.items():
        print(f"{name:26} {value:.6g}" if isinstance(value, float) else f"{name:26} {value}")
    write_json(json_file, values)


def run(command: Callable[[], int | None], *, program: str) -> NoReturn:
    """Run a command and exit: 0 or what it returns, 2 and one line for a `UserError`, 130 if interrupted, 143 by
    SIGTERM, which ends a command as an interrupt does: everything is cleaned up on the way out.
    """
    received: list[int] = []

    def end(number: int, frame: object) -> NoReturn:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():  # which alone may set handlers
        for number in (signal.SIGINT, signal.SIGTERM):  # the first is ignored in a shell's background job
            signal.signal(number, end)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files that are not text are printed as they are
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
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in EXTRA_OF:
            raise
        print(f"{program}: error: {not_installed(package)}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as ended:
        if isinstance(ended, SystemExit) and not received:
            raise
        first = received[0] if received else signal.SIGINT  # whatever code a framework has ended with since
        print(f"{program}: {'terminated' if first == signal.SIGTERM else 'interrupted'}", file=sys.stderr)
        sys.exit(128 + first)
