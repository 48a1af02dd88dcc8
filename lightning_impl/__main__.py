"""python -m lightning_impl fit | validate | test | predict

Lightning is imported only once a command is named, so that help and a wrong command answer at once.
"""

import sys

from core_torch.contract.command_line import Parser, run

PROGRAM = "python -m lightning_impl"
COMMANDS = {
    "fit": "train, and print the validation error",
    "validate": "print the error on the held-out images",
    "test": "print the error on the test split",
    "predict": "reconstruct the test split, for a callback to use",
}


def build_parser() -> Parser:
    """The commands by name; their options are LightningCLI's."""
    parser = Parser(prog=PROGRAM, description="The reference autoencoders, trained by Lightning.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=f"{summary}; `{name} --help` lists the options", add_help=False)
    return parser


def main() -> None:
    """Judge the command's name here, leave the rest to LightningCLI."""
    if sys.argv[1:2] == [] or sys.argv[1] not in COMMANDS:
        build_parser().parse_args(sys.argv[1:2])
    from lightning_impl.command import run_command

    run(lambda: run_command(program=PROGRAM), program=PROGRAM)


if __name__ == "__main__":
    main()
