"""python -m lightning_impl fit | validate | test | predict

Lightning is imported only once the names of all options are known to be right, so that help and a wrong name answer
at once; values are LightningCLI's to judge.
"""

import os
import sys

from core_torch.commands.command_line import Parser, run
from core_torch.spec.errors import ConfigError
from core_torch.spec.extras import check_installed
from lightning_impl import options
from lightning_impl.config_file import check_config

PROGRAM = "python -m lightning_impl"


def build_parser() -> Parser:
    """The commands by name."""
    parser = Parser(prog=PROGRAM, description="The reference autoencoders, trained by Lightning.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, summary in options.COMMANDS.items():
        commands.add_parser(name, help=f"{summary}; `{name} --help` lists the options", add_help=False)
    return parser


def check_names(command: str, given: list[str]) -> None:
    """Judge the names of options, and print help where it is asked for. `ConfigError` for a configuration file that is
    not there or not YAML; exit for a wrong name.
    """
    names = options.option_names(command)
    parts = tuple(f"{name}." for name in names if "." in name)  # of a value that is an object
    for argument, value in zip(given, [*given[1:], ""]):
        name = argument.split("=")[0].rstrip("+")
        known = name in names or name.startswith(parts) or options.may_be_newer(name)
        if name in ("-h", "--help") or (name.startswith("--") and not known):
            options.build_parser(command).parse_args([name])
        if name in ("-c", "--config") and ":" not in (path := value if name == argument else argument[len(name) + 1 :]):
            if not os.path.isfile(path):
                raise ConfigError(f"config: {path or 'an empty path'} cannot be read, allowed: a YAML file")
            check_config(path)


def dispatch() -> None:
    """Judge the names here, leave the rest to LightningCLI."""
    command, *given = sys.argv[1:] or [""]
    if command not in options.COMMANDS:
        build_parser().parse_args(sys.argv[1:2])
    check_installed("lightning", "jsonargparse")
    check_names(command, given)
    from lightning_impl.commands import run_command

    run_command(program=PROGRAM)


def main() -> None:
    """Dispatch and exit."""
    run(dispatch, program=PROGRAM)


if __name__ == "__main__":
    main()
