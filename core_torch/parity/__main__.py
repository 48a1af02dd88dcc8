"""python -m core_torch.parity check NAME COMMAND | mutants | right-ports | golden: agreement from the command line."""

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import islice

from core_torch.commands.command_line import Parser, check_results, run
from core_torch.files.outputs import prepare_output, write_json
from core_torch.spec.errors import ConfigError, ParityError, check_choice, check_integer

PROGRAM = "python -m core_torch.parity"


def build_parser() -> Parser:
    """The commands and their options."""
    parser = Parser(prog=PROGRAM, description="Hold any implementation against a reference.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(COMMANDS))
    table = commands.add_parser("mutants", help="the mutation table: every known bug on every architecture")
    right = commands.add_parser("right-ports", help="the table of false alarms: every kind of right port")
    right.add_argument("--problems", type=int, default=2, metavar="N", help="fresh ones, beside the goldens (2)")
    right.add_argument("--seed", type=int, default=0, metavar="N", help="of the first fresh problem (0)")
    right.add_argument("--kinds", default="", metavar="GROUPS", help="numpy,torch,jax,ports,languages (default: all)")
    table.add_argument("--published", action="store_true", help="print the stored table; making it takes half an hour")
    table.add_argument("--summary", action="store_true", help="count by level instead of a row for each bug")
    goldens = commands.add_parser("golden", help="make the golden traces")
    goldens.add_argument("--output", metavar="DIR", required=True, help="for thirty .npz files")
    goldens.add_argument("--size", default="slim", metavar="SIZE", help="slim (default) or full: 1 GB, an hour")
    check = commands.add_parser("check", help="hold a worker, in any language, against a golden trace")
    check.add_argument("golden", metavar="NAME", help="such as conv-deep-contractive")
    worker = "a framework's name, or a command, whose own options stand after --"
    check.add_argument("worker", nargs=argparse.REMAINDER, metavar="COMMAND", help=worker)
    check.add_argument("--steps", type=int, metavar="N", help="1, 10 or 100 (default all)")
    check.add_argument("--timeout", type=float, metavar="SECONDS", help="for one answer (default 300)")
    check.add_argument("--dtype", default="float32", metavar="TYPE", help="float32 (default) or float64")
    for command in (table, right, check):
        command.add_argument("--json", metavar="FILE", help="also write the printed values there")
    return parser


def options_first(words: Sequence[str]) -> list[str]:
    """Move the options of `check` before NAME, so that they may follow it; what is after -- belongs to COMMAND."""
    if not words or words[0] != "check":
        return list(words)
    end = list(words).index("--") if "--" in words else len(words)
    options, others = [], []
    own = iter(words[1:end])
    for word in own:
        if word.startswith("--"):
            options += [word] if "=" in word or word == "--help" else [word, *islice(own, 1)]
        else:
            others.append(word)
    return ["check", *options, *others, *words[end + 1 :]]


def mutants(options: argparse.Namespace) -> int:
    """Print the table; 1 if a bug survives or is taken for another."""
    from core_torch.parity.mutants import mutation_table
    from core_torch.parity.mutants_page import PUBLISHED, has_failed, markdown, read_table, summary, table_of

    check_results(options)
    table = read_table(PUBLISHED) if options.published else table_of(mutation_table())
    print((summary if options.summary else markdown)(table), end="")
    write_json(options.json, table)
    return int(has_failed(table))


def right_ports(options: argparse.Namespace) -> int:
    """Print the table; 1 if a right port is refused."""
    from core_torch.parity.right_ports.kinds import GROUPS
    from core_torch.parity.right_ports.sweep import markdown, problems, sweep

    check_integer("problems", options.problems, minimum=0)
    check_integer("seed", options.seed, minimum=0)
    groups = options.kinds.split(",") if options.kinds else list(GROUPS)
    for group in groups:
        check_choice("kinds", group, GROUPS)
    check_results(options)
    kinds = {name: kind for group in groups for name, kind in GROUPS[group].items()}
    rows = sweep(kinds, problems(options.problems, seed=options.seed))
    print(markdown(rows), end="")
    write_json(options.json, {name: row.to_dict() for name, row in rows.items()})
    return int(any(row.refused for row in rows.values()))


def golden(options: argparse.Namespace) -> None:
    """Write the golden traces."""
    from core_torch.parity.golden_traces import SIZES, write_goldens

    check_choice("size", options.size, SIZES)
    if not options.output:
        raise ConfigError("output: found an empty path, allowed: a folder")
    for path in write_goldens(prepare_output(options.output), size=options.size):
        print(path)


def check(options: argparse.Namespace) -> int:
    """Print the levels, or what is wrong; 1 if the worker disagrees."""
    from core_torch.parity import assert_parity
    from core_torch.parity.known_ports import KNOWN_PORTS

    if not options.worker:
        raise ConfigError(f"worker: found none, allowed: a command, or one of {', '.join(KNOWN_PORTS)}")
    first, *rest = options.worker
    if first in KNOWN_PORTS and rest:
        raise ConfigError(f"worker: found {' '.join(rest)} after {first}, allowed: nothing")
    candidate = first if first in KNOWN_PORTS else options.worker
    check_results(options)
    try:
        checks = assert_parity(
            options.golden, candidate, steps=options.steps, dtype=options.dtype, timeout=options.timeout
        )
    except ParityError as error:
        print(error)
        write_json(options.json, {"passed": False, "error": str(error)})
        return 1
    for check in checks:
        print(f"{check.level:12} {check.value:9.1e}  allowed {check.tolerance:.1e}")
    write_json(options.json, {"passed": True, "checks": [check.to_row() for check in checks]})
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "mutants": mutants,
    "right-ports": right_ports,
    "golden": golden,
    "check": check,
}


def dispatch() -> int | None:
    """Parse, and do what the command says."""
    options = build_parser().parse_args(options_first(sys.argv[1:]))
    return COMMANDS[options.command](options)


def main() -> None:
    """Dispatch and exit."""
    run(dispatch, program=PROGRAM)


if __name__ == "__main__":
    main()
