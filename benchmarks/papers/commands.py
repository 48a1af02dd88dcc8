"""`python -m benchmarks reproduce` and `tables`."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.papers import TABLES
from core_torch.commands.command_line import add_device_option, check_results
from core_torch.files.locks import hold
from core_torch.files.outputs import prepare_output
from core_torch.spec.errors import ConfigError, check_choice, check_integer


def add_commands(commands: Any) -> None:
    """Declare them, with their options."""
    repetition = commands.add_parser("reproduce", help="run published tables again, on MNIST")
    repetition.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)} (default all)")
    repetition.add_argument("--full", action="store_true", help="every row and seed; default the quick rows once")
    repetition.add_argument("--data-root", metavar="DIR", help="holds MNIST/raw (default $MNIST_ROOT or ./data)")
    add_device_option(repetition)
    repetition.add_argument("--jobs", type=int, metavar="N", help="processes of one thread (default one a core)")
    repetition.add_argument("--output", metavar="DIR", default="out", help="goes on with what is there (default out)")
    repetition.set_defaults(json=None)
    shown = commands.add_parser("tables", help="stored runs of reproduce as Markdown")
    shown.add_argument("folder", metavar="DIR")
    shown.add_argument("tables", nargs="*", metavar="TABLE", help="default all that are there")


def run_reproduction(options: argparse.Namespace, *, device: str) -> int:
    """Run what is not there yet, keep each as it ends, print the tables; 1 if a run failed."""
    names = _chosen(options.tables)
    jobs = options.jobs if options.jobs is not None else _jobs(device)
    check_integer("jobs", jobs, minimum=1)
    check_results(options)

    from benchmarks.timing.environment import describe_environment

    environment = describe_environment(seed=0, device=device)
    with hold(Path(options.output)):
        folder = prepare_output(options.output)
        return _run(options, names, folder, environment=environment, jobs=jobs, device=device)


def _run(
    options: argparse.Namespace, names: list[str], folder: Path, *, environment: Any, jobs: int, device: str
) -> int:
    from benchmarks.papers.page import markdown
    from benchmarks.papers.runs import Run, plan_runs, run_all, stored_runs, write_runs
    from benchmarks.papers.table import Data

    runs = stored_runs(folder, environment=environment)
    Data(options.data_root)  # raises here, not in a process, what is wrong with the files
    every, here = (plan_runs(names, full=options.full, device=each) for each in ("cuda", device))
    if len(every) > len(here):
        print(f"{len(every) - len(here)} runs are left to a GPU: without one they take hours", file=sys.stderr)
    keys = [key for key in here if key not in runs]

    def keep(run: Run) -> None:
        runs[run.key] = run
        write_runs(folder, runs.values(), environment=environment)
        told = ", ".join(f"{name} {value:.6g}" for name, value in run.metrics.items())
        print(f"{run.table}, {run.row}, seed {run.seed}: {told}; {run.seconds:.0f} s", file=sys.stderr, flush=True)

    failed = run_all(keys, root=options.data_root, device=device, jobs=jobs, finished=keep)
    print(markdown([run for run in runs.values() if run.table in names], environment), end="")
    for (table, row, seed), reason in failed:
        print(f"FAILED {table}, {row}, seed {seed}: {' '.join(reason.split())}", file=sys.stderr)
    return 1 if failed else 0


def _chosen(names: list[str]) -> list[str]:
    """Those that were named, or all; `ConfigError` for one that there is not."""
    for name in names:
        check_choice("table", name, TABLES)
    return list(dict.fromkeys(names)) or list(TABLES)


def _jobs(device: str) -> int:
    """One a core; one in all on a GPU, which a run fills."""
    return 1 if device == "cuda" else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def print_tables(options: argparse.Namespace) -> None:
    """Print stored runs."""
    from benchmarks.papers.page import markdown
    from benchmarks.papers.runs import read_runs

    names = _chosen(options.tables)
    if not options.folder or not os.path.isdir(options.folder):
        raise ConfigError(f"folder: found {options.folder!r}, allowed: a folder that reproduce wrote")
    runs, environment = read_runs(Path(options.folder))
    chosen = [run for run in runs if run.table in names]
    if not chosen:
        raise ConfigError(f"table: found {', '.join(names)}, of which {options.folder} has no run")
    print(markdown(chosen, environment), end="")
