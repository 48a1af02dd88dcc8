"""python -m benchmarks [run] | compare OLD NEW | verify RESULTS | markdown RESULTS | doctor | reproduce | tables DIR

Exit 0: all agree. 1: a disagreement, a refused case, a ratio lost or not confirmed. 2: the arguments are wrong.
"""

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.papers import commands as reproduce_commands
from benchmarks.ports.frameworks import FRAMEWORKS
from benchmarks.report.compare import THRESHOLD
from benchmarks.suites import SUITES
from benchmarks.timing.doctor import NVIDIA_DRIVER, findings
from core_torch.commands.command_line import Parser, add_data_options, add_device_option, check_results, run
from core_torch.files.locks import hold
from core_torch.files.outputs import prepare_output, write_json
from core_torch.files.splits import Split, load_split
from core_torch.spec.errors import ConfigError, check_choice, check_integer, check_number
from core_torch.spec.extras import check_installed
from core_torch.spec.recipe import LARGEST_SEED

REPORTING = ("scipy", "jsonschema", "jinja2", "matplotlib")  # without them a long run could not be written down


def build_parser() -> Parser:
    """The commands and their options."""
    parser = Parser(prog="python -m benchmarks", description="Prove that the frameworks agree, then time them.")
    commands = parser.add_subparsers(dest="command", required=True)
    reproduce_commands.add_commands(commands)
    runner = commands.add_parser("run", help="the default")
    runner.add_argument("--suite", default="quick", help=f"one of {', '.join(SUITES)} (default quick)")
    listed = f"comma-separated, of {','.join(FRAMEWORKS)} (default all)"
    runner.add_argument("--frameworks", metavar="LIST", help=listed)
    add_data_options(runner)
    add_device_option(runner)
    runner.add_argument("--output", metavar="DIR", default="out", help="for results.json, report.html, pictures")
    runner.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and shuffle (default 0)")
    comparison = commands.add_parser("compare", help="two results files side by side")
    comparison.add_argument("old", metavar="OLD.json")
    comparison.add_argument("new", metavar="NEW.json")
    repetition = commands.add_parser("verify", help="run a results file's command again: does it confirm the ratios?")
    repetition.add_argument("results", metavar="RESULTS.json")
    repetition.add_argument("--data-root", metavar="DIR", help="of the dataset, as for run")
    repetition.add_argument("--output", metavar="DIR", default="out", help="for what the repetition writes")
    for command in (comparison, repetition):
        threshold = f"share of a ratio to lose (default {THRESHOLD})"
        command.add_argument("--threshold", type=float, default=THRESHOLD, help=threshold)
    table = commands.add_parser("markdown", help="the tables of a results file, for a README")
    table.add_argument("results", metavar="RESULTS.json", nargs="+")
    goals = "only what the runs are held to; a case that several have as the first of them found it"
    table.add_argument("--goals", action="store_true", help=goals)
    examination = commands.add_parser("doctor", help="what would make measurements on this machine unreliable")
    for command in (runner, comparison, repetition, examination):
        command.add_argument("--json", metavar="FILE", help="also write the printed values there")
    return parser


def run_suite(options: argparse.Namespace) -> int:
    """Check every argument, then run; 0 if all agree, else 1."""
    check_choice("suite", options.suite, SUITES)
    check_integer("seed", options.seed, minimum=0, maximum=LARGEST_SEED)
    frameworks = parse_frameworks(options.frameworks)
    check_installed(*REPORTING)
    device = choose_device(options.device)
    split = load_split(options.dataset, root=options.data_root)
    check_results(options)
    with hold(Path(options.output)):
        return run_cases(options, split, frameworks=frameworks, device=device)


def run_cases(options: argparse.Namespace, split: Split, *, frameworks: list[str], device: str) -> int:
    """Run a suite into the output folder, which nobody else writes to; 0 if all agree, else 1."""
    output = prepare_output(options.output)

    from benchmarks.report.page import plot_ratios, write_report
    from benchmarks.report.results_file import Results
    from benchmarks.report.tables import print_table
    from benchmarks.runner import Runner
    from benchmarks.timing.environment import describe_environment

    environment = describe_environment(seed=options.seed, device=device)
    results = Results(["python", "-m", "benchmarks", *without_folders(sys.argv[1:])], environment, options.dataset)

    def save() -> None:
        results.write(output / "results.json")
        write_report(results, output / "report.html")

    runner = Runner(
        results,
        split,
        names=frameworks,
        device=device,
        seed=options.seed,
        log=lambda line: print(line, file=sys.stderr, flush=True),
        save=save,
    )
    try:
        runner.run(SUITES[options.suite])
    finally:
        save()
    plot_ratios(results, output)
    print_table(results)
    if options.json:
        results.write(Path(options.json))
    return 0 if results.passed else 1


def without_folders(arguments: list[str]) -> list[str]:
    """The arguments with every folder as DIR: a stored run should not tell where its user keeps things."""
    options = ("--data-root", "--output", "--json")
    hidden = [re.sub(rf"^({'|'.join(options)})=.*", r"\1=DIR", argument) for argument in arguments]
    return ["DIR" if before in options else argument for before, argument in zip(["", *hidden], hidden)]


def parse_frameworks(listed: str | None) -> list[str]:
    """The frameworks asked for; all of them by default. `ConfigError` for one unknown or not installed."""
    names = list(FRAMEWORKS) if listed is None else list(dict.fromkeys(listed.split(",")))
    for name in names:
        check_choice("frameworks", name, FRAMEWORKS)
        check_installed(FRAMEWORKS[name].package)
    return names


def choose_device(name: str) -> str:
    """cpu or cuda, judged without importing a framework here: the NVIDIA driver's own file tells."""
    check_choice("device", name, ("auto", "cpu", "cuda"))
    present = NVIDIA_DRIVER.exists()
    if name == "cuda" and not present:
        raise ConfigError("device: found cuda, allowed on this machine: auto, cpu")
    return "cuda" if present and name != "cpu" else "cpu"


def run_comparison(options: argparse.Namespace) -> int:
    """Print the ratios of two files; 1 if one was lost."""
    from benchmarks.report.compare import compare

    check_number("threshold", options.threshold, minimum=0)
    check_results(options)
    rows, kept = compare(Path(options.old), Path(options.new), threshold=options.threshold)
    _print_rows(rows, options.json)
    return 0 if kept else 1


def _print_rows(rows: list[dict[str, Any]], json_file: str | None) -> None:
    for row in rows:
        said = "LOST" if row["lost"] else "moved" if row["distinguishable"] else "not distinguishable"
        old, new = (
            f"{row[name]:.2f} [{row[f'{name}_interval'][0]:.2f}, {row[f'{name}_interval'][1]:.2f}]"
            for name in ("old", "new")
        )
        print(f"{row['case']}: {row['contender']} ({row['clock']})  {old} -> {new}  {said}")
    write_json(json_file, rows)


def run_verification(options: argparse.Namespace) -> int:
    """Run the command of a results file again; 1 if a ratio is not confirmed, or the run itself fails."""
    from benchmarks.report.compare import compare, find_refuted
    from benchmarks.report.reading import read_results
    from benchmarks.report.results_file import Results

    check_number("threshold", options.threshold, minimum=0)
    check_results(options)
    path = Path(options.output) / "results.json"
    stored = Results.from_content(read_results(Path(options.results)))
    if path.exists() and path.samefile(options.results):
        raise ConfigError(f"output: found the folder of {options.results} itself, allowed: another")
    repeated = _stored_options(stored.command)
    if repeated.dataset != stored.dataset:
        raise ConfigError(f"command: runs on {repeated.dataset}, but {options.results} is of {stored.dataset}")
    if not stored.ratios:
        raise ConfigError(f"results: found none in {options.results}, allowed: a run with ratios to confirm")
    repeated.device = "cuda" if stored.clock == "wall" else "cpu"
    for name in ("data_root", "output"):
        setattr(repeated, name, getattr(options, name))
    repeated.json = None
    code = run_suite(repeated)
    rows, _ = compare(Path(options.results), path, threshold=options.threshold)
    _print_rows([row for row in rows if row["clock"] == stored.clock], options.json)
    refuted = find_refuted(rows, clock=stored.clock, threshold=options.threshold)
    for row in refuted:
        print(f"not confirmed: {row['case']}: {row['contender']}")
    print("REJECTED" if code or refuted else "confirmed")
    return 1 if code or refuted else 0


def _stored_options(command: list[str]) -> argparse.Namespace:
    """Of the command of a results file; `ConfigError` if it is not a run."""
    given = command[3:]  # after python -m benchmarks
    given = given if given[:1] == ["run"] else ["run", *given]
    if "-h" in given or "--help" in given:
        raise ConfigError("command: found a call for help, allowed: a run")
    return build_parser().parse_args(given)


def run_reproduction(options: argparse.Namespace) -> int:
    """Run published tables again; 1 if a run failed."""
    return reproduce_commands.run_reproduction(options, device=choose_device(options.device))


def run_doctor(options: argparse.Namespace) -> int:
    """Print what was found; 1 if something should be done about it first."""
    check_results(options)
    found = findings()
    for finding in found:
        print(f"{'ADVICE' if finding.advice else 'ok':6} {finding.name:14} {finding.found}")
        if finding.advice:
            print(f"{'':22}{finding.advice}")
    write_json(options.json, [asdict(finding) for finding in found])
    return 1 if any(finding.advice for finding in found) else 0


def print_markdown(options: argparse.Namespace) -> None:
    """Print stored runs as Markdown."""
    from benchmarks.report.reading import read_results
    from benchmarks.report.results_file import Results
    from benchmarks.report.tables import goal_lines, markdown, run_line

    contents = [read_results(Path(path)) for path in options.results]
    if options.goals:
        told = [f"- {run_line(content)}" for content in contents]
        print("\n".join([*told, "", *goal_lines(*map(Results.from_content, contents))]))
    else:
        print("\n".join(map(markdown, contents)).rstrip("\n"))


COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "run": run_suite,
    "compare": run_comparison,
    "verify": run_verification,
    "markdown": print_markdown,
    "doctor": run_doctor,
    "reproduce": run_reproduction,
    "tables": reproduce_commands.print_tables,
}


def main() -> None:
    """Parse, dispatch, exit. Without a command, `run`."""
    given = sys.argv[1:]
    named = given and (not given[0].startswith("-") or given[0] in ("-h", "--help"))
    options = build_parser().parse_args(given if named else ["run", *given])
    command = COMMANDS[options.command]
    run(lambda: command(options), program="python -m benchmarks")


if __name__ == "__main__":
    main()
