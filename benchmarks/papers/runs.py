"""The runs behind the tables: how they are made, in processes of one thread each, and how they are kept."""

import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from benchmarks.papers import TABLES
from benchmarks.papers.table import COUNT, Data, Row, Table, table_named
from benchmarks.report.schema import read_json
from benchmarks.timing.environment import commit
from core_torch.files.outputs import write_json
from core_torch.spec.errors import ConfigError, DataFormatError, DivergenceError

NAME = "reproduction.json"
IGNORE_INTERRUPT = (signal.SIGINT, signal.SIG_IGN)  # of the processes: the one that started them tells them to end
VERSION = 2
LARGEST_NUMBER = 1e100
_NUMBER = {"type": "number"}
_RUN = {
    "type": "object",
    "required": ["table", "row", "seed", "commit", "settings", "seconds", "metrics"],
    "properties": {
        "table": {"type": "string"},
        "row": {"type": "string"},
        "seed": _NUMBER | {"minimum": 0},
        "commit": {"type": ["string", "null"]},
        "settings": {"type": "string"},
        "seconds": _NUMBER | {"minimum": 0},
        "metrics": {"type": "object"},
    },
}
SCHEMA = {
    "type": "object",
    "required": ["version", "environment", "runs"],
    "properties": {
        "version": {"const": VERSION},
        "environment": {
            "type": "object",
            "required": ["cpu", "versions"],
            "properties": {
                "cpu": {"type": "string"},
                "gpu": {"type": ["string", "null"]},
                "versions": {"type": "object"},
            },
        },
        "runs": {"type": "array", "items": _RUN},
    },
}


Key = tuple[str, str, int]  # table, row, seed


@dataclass(frozen=True)
class Run:
    """A row of a table with one seed."""

    table: str
    row: str
    seed: int
    commit: str | None  # of the code that made it
    settings: str  # of its row then
    seconds: float  # of processor time, all threads, without what is loaded once
    metrics: dict[str, float]

    @property
    def key(self) -> Key:
        """What it is a run of."""
        return self.table, self.row, self.seed


def plan_runs(tables: Iterable[str], *, full: bool, device: str) -> list[Key]:
    """What there is to run: quick rows once, or every row with all of its seeds, one seed of all rows after another."""
    rows = [(name, row) for name in tables for row in table_named(name).rows]
    rows = [(name, row) for name, row in rows if (full or row.quick) and (device == "cuda" or not row.gpu)]
    seeds = max((row.seeds for _, row in rows), default=0) if full else 1
    return [(name, row.name, seed) for seed in range(seeds) for name, row in rows if seed < row.seeds]


def run_all(
    keys: list[Key], *, root: str | None, device: str, jobs: int, finished: Callable[[Run], None]
) -> list[tuple[Key, str]]:
    """Run them in `jobs` processes at once, and hand over each as it ends; what failed, and why."""
    failed, code = [], commit()  # of now: the processes import it at once, whatever is committed meanwhile
    with ProcessPoolExecutor(jobs, get_context("spawn"), signal.signal, IGNORE_INTERRUPT) as pool:
        waiting = {pool.submit(run_one, *key, root=root, device=device, code=code): key for key in keys}
        try:
            for done in as_completed(waiting):
                error = done.exception()
                if error is None:
                    finished(done.result())
                else:
                    failed.append((waiting[done], f"{type(error).__name__}: {error}"))
        except BaseException:  # an interrupt, which nothing should outlive
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()
            raise
    return failed


def run_one(table: str, row: str, seed: int, *, root: str | None, device: str, code: str | None) -> Run:
    """In a process of its own: the metrics, and the processor time that they took."""
    import torch

    torch.set_num_threads(1)  # the same sums in the same order, whatever runs beside
    data = _data(root, device)
    started = _processor_seconds()
    metrics = table_named(table).row(row).run(data, seed)
    seconds = _processor_seconds() - started
    if not all(map(math.isfinite, metrics.values())):
        raise DivergenceError(f"{row}, seed {seed}: found {dict(metrics)}, allowed: finite numbers")
    numbers = {name: float(value) for name, value in metrics.items()}
    return Run(table, row, seed, code, table_named(table).row(row).settings, seconds, numbers)


def _processor_seconds() -> float:
    """Of this process, and of those that it started and that have ended."""
    return sum(os.times()[:4])


@cache
def _data(root: str | None, device: str) -> Data:
    return Data(root, device=device)


def write_runs(folder: Path, runs: Iterable[Run], *, environment: dict[str, Any]) -> None:
    """In one step, so that a reader never sees half a file."""
    rows = [asdict(run) for run in sorted(runs, key=_place)]
    write_json(folder / NAME, {"version": VERSION, "environment": environment, "runs": rows})


def _place(run: Run) -> tuple[int, int, int]:
    rows = [row.name for row in table_named(run.table).rows]
    return list(TABLES).index(run.table), rows.index(run.row), run.seed


def read_runs(folder: Path) -> tuple[list[Run], dict[str, Any]]:
    """Runs and the environment that they were made in.

    Raises:
        DataFormatError: the file is absent or malformed, or holds a run that no table has, of settings that its row
            has no more, or one twice.
    """
    runs, environment = _read(folder)
    if stale := [run for run in runs if _is_stale(run)]:
        raise DataFormatError(f"{folder / NAME}: {_told(stale[0])} was run with other settings: reproduce it again")
    return runs, environment


def _read(folder: Path) -> tuple[list[Run], dict[str, Any]]:
    path = folder / NAME
    content = read_json(path, SCHEMA)
    environment = content["environment"]
    if fault := next(_faults(content["runs"], environment), None):
        raise DataFormatError(f"{path}: {fault}")
    return [Run(**run) for run in content["runs"]], environment


def _is_stale(run: Run) -> bool:
    return run.settings != table_named(run.table).row(run.row).settings


def _told(run: Run) -> str:
    return f"{run.table}, {run.row}, seed {run.seed}"


def _faults(runs: list[dict[str, Any]], environment: dict[str, Any]) -> Iterator[str]:
    if not runs:
        yield "has no run"
    told = [environment["cpu"], environment.get("gpu"), *environment["versions"].values()]
    told += [run["commit"] for run in runs]
    if not all(isinstance(word, str) and word.isprintable() for word in told if word is not None):
        yield "names a processor, a version or a commit that is not a line of text"
    seen, names = set[Key](), dict[tuple[str, str], set[str]]()
    for number, run in enumerate(runs):
        place, row = f"runs[{number}]", _row_of(run)
        if row is None:
            yield f"{place} is of a row that no table has: {run['table']}, {run['row']}"
            continue
        if set(run) != set(Run.__dataclass_fields__):
            yield f"{place} has fields of another version"
        if not all(map(_is_finite, (run["seconds"], *run["metrics"].values()))):
            yield f"{place} has a metric or seconds that are not a number"
        elif fault := _misfit(run["metrics"], row, table_named(run["table"])):
            yield f"{place} {fault}"
        if run["seed"] not in range(row.seeds):
            yield f"{place} has a seed that is none of the first {row.seeds}"
        if row.gpu and not environment.get("gpu"):
            yield f"{place} is of a row that is run on a GPU alone"
        key = run["table"], run["row"], run["seed"]
        if key in seen:
            yield f"{place} is there twice"
        if names.setdefault(key[:2], set(run["metrics"])) != set(run["metrics"]):
            yield f"{place} has other metrics than the same row with another seed"
        seen.add(key)


def _row_of(run: dict[str, Any]) -> Row | None:
    table = table_named(run["table"]) if run["table"] in TABLES else None
    return next((row for row in table.rows if row.name == run["row"]), None) if table else None


def _misfit(metrics: dict[str, float], row: Row, table: Table) -> str | None:
    """What is wrong with finite metrics, as those of a row."""
    if unknown := set(metrics) - set(table.metrics):
        return f"has metrics that its table has not: {', '.join(sorted(unknown))}"
    if missing := {*row.published, *row.goals} - set(metrics):
        return f"has no {', '.join(sorted(missing))}"
    for name, value in metrics.items():
        if value < 0 or (name.endswith("%") and value > 100) or (table.metrics[name] == COUNT and value not in (0, 1)):
            return f"has an impossible {name}: {value:g}"
    return None if metrics else "has no metric"


def _is_finite(value: Any) -> bool:
    """Whether it is a number whose sums a float can hold, which JSON's are not bound to be."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def stored_runs(folder: Path, *, environment: dict[str, Any]) -> dict[Key, Run]:
    """What a folder already has, less what was run with other settings than its row's.

    Raises:
        ConfigError: other versions or another machine made it.
        DataFormatError: see `read_runs`.
    """
    if not (folder / NAME).exists():
        return {}
    runs, made_in = _read(folder)
    for name in ("cpu", "cores", "machine", "gpu", "device", "python", "versions"):
        if made_in.get(name) != environment.get(name):
            raise ConfigError(f"output: {folder} was made with another {name}, allowed: another folder")
    for run in filter(_is_stale, runs):
        print(f"{_told(run)}: was run with other settings, and is run again", file=sys.stderr)
    return {run.key: run for run in runs if not _is_stale(run)}
