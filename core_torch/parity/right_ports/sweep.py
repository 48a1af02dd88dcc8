"""Ask every kind of right port every problem, and count what the judge refuses: each of them is a false alarm."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice

from core_torch.parity.candidate import Candidate
from core_torch.parity.external import NO_ACCELERATOR, ExternalWorker
from core_torch.parity.golden_traces import GOLDEN, golden
from core_torch.parity.judge import Check, Judge, agree
from core_torch.parity.right_ports.fresh import fresh_judges
from core_torch.parity.right_ports.kinds import Kind
from core_torch.parity.right_ports.port import NumpyPort, Way


@dataclass
class Row:
    """What became of a kind.

    Attributes:
        asked: problems, in either type of numbers.
        closest: the largest share of its tolerance that a level used, and where.
        refused: the checks that failed.
        missing: why it was not asked.
    """

    asked: int = 0
    closest: float = 0.0
    closest_at: str = ""
    refused: list[Check] = field(default_factory=list)
    missing: str = ""

    def add(self, checks: list[Check], *, dtype: str) -> None:
        """Count a verdict."""
        self.asked += 1
        for check in checks:
            share = check.value / check.tolerance if check.tolerance else 0.0
            if check.passed and share > self.closest:
                self.closest, self.closest_at = share, f"{check.case}, {dtype}, {check.level}"
        if not agree(checks):
            self.refused.append(checks[-1])

    def to_dict(self) -> dict[str, object]:
        """Plain values, as written to JSON."""
        return asdict(self) | {"refused": [check.to_row() for check in self.refused]}


class Workers:
    """Warm processes, one for each framework and type of numbers; use as a context manager."""

    def __init__(self) -> None:
        self.stack, self.open = ExitStack(), dict[tuple[str, str], ExternalWorker]()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stack.close()

    def candidate(self, kind: Kind, judge: Judge, *, dtype: str) -> Candidate:
        """The kind's port of a problem."""
        if kind.process is None:
            problem = judge.problem
            return NumpyPort(problem.architecture, problem.recipe, way=kind.way or Way(), dtype=dtype)
        key = kind.process.name, dtype
        if key not in self.open or not self.open[key].is_alive:
            command = [word.replace("{dtype}", dtype) for word in kind.process.command]
            environment = NO_ACCELERATOR | dict(kind.process.environment)
            worker = ExternalWorker(kind.process.name, command=command, environment=environment)
            self.open[key] = self.stack.enter_context(worker)
        self.open[key].prepare(judge.problem, dtype=dtype, options=kind.options)
        return self.open[key]


def problems(fresh: int, *, seed: int = 0) -> Iterator[Judge]:
    """All goldens, then as many fresh ones."""
    yield from (golden(name) for name in GOLDEN)
    yield from islice(fresh_judges(seed), fresh)


def sweep(kinds: Mapping[str, Kind], judges: Iterable[Judge]) -> dict[str, Row]:
    """{kind: what became of it}."""
    rows = {name: Row(missing=kind.missing) for name, kind in kinds.items()}
    with Workers() as workers:
        for judge in judges:
            for name, kind in kinds.items():
                if not rows[name].missing and kind.fits(judge.problem):
                    for dtype in kind.dtypes:
                        rows[name].add(verdict(workers, kind, judge, name=name, dtype=dtype), dtype=dtype)
    return rows


def verdict(workers: Workers, kind: Kind, judge: Judge, *, name: str, dtype: str) -> list[Check]:
    """The judge's, of a kind on a problem."""
    return judge.check(workers.candidate(kind, judge, dtype=dtype), f"{name}, {dtype}", dtype=dtype)


def markdown(rows: Mapping[str, Row]) -> str:
    """The table, the sums under it, and every false alarm."""
    lines = ["| kind of right port | asked | false alarms | closest to its budget |", "| --- | ---: | ---: | ---: |"]
    for name, row in rows.items():
        numbers = f"not asked: {row.missing} | |" if row.missing else f"{row.asked} | {len(row.refused)} |"
        lines.append(f"| {name} | {numbers} {row.closest:.2f} |")
    asked, refused = sum(row.asked for row in rows.values()), [check for row in rows.values() for check in row.refused]
    kinds = sum(not row.missing for row in rows.values())
    lines += ["", f"{kinds} kinds of right ports, {asked} verdicts, {len(refused)} false alarms."]
    for check in refused:
        level = f"{check.level} {check.where}: {check.value:.3g}, allowed {check.tolerance:.3g}"
        lines.append(f"- {check.framework}; {check.case}; {level}")
    return "\n".join([*lines, ""])
