"""Stored runs as tables: means over seeds beside what was published, and what the orderings say."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from statistics import fmean, stdev
from typing import Any

from benchmarks.papers import TABLES
from benchmarks.papers.runs import Run
from benchmarks.papers.table import COUNT, ERROR, TEST_IMAGES, Goal, Ordering, Row, Table, table_named


def markdown(runs: list[Run], environment: dict[str, Any]) -> str:
    """Every table that has a run, for a README; `print` it for a terminal."""
    parts = [_machine(runs, environment)]
    for name in TABLES:
        own = [run for run in runs if run.table == name]
        if own:
            parts.append("\n".join(_told(table_named(name), own)))
    return "\n\n".join(parts) + "\n"


def _machine(runs: list[Run], environment: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    commits = ", ".join(sorted({run.commit or "no repository" for run in runs}))
    hours = sum(run.seconds for run in runs) / 3600
    whole = sum(_seconds_of_every_seed(runs)) / 3600
    return (
        f"{environment['cpu']}, {environment.get('gpu') or 'no GPU'}; {versions}; code of {commits}. {len(runs)} runs, "
        f"{hours:.1f} hours of one core ({whole:.1f} with every seed that these rows have). A cell is the mean "
        "over seeds, ± the standard deviation where there are several, [what was published, and how far we are from "
        "it], and a goal with whether it was met. What was chosen here was chosen on held-out images, but where a "
        "table says otherwise."
    )


def _seconds_of_every_seed(runs: list[Run]) -> Iterator[float]:
    for table, row in {(run.table, run.row) for run in runs}:
        own = [run.seconds for run in runs if (run.table, run.row) == (table, row)]
        yield table_named(table).row(row).seeds * fmean(own)


def _told(table: Table, runs: list[Run]) -> Iterator[str]:
    yield f"**{table.title}** ({table.source})\n"
    yield f"{table.protocol}\n"
    yield from _lines(table, runs)
    notes = [f"- {note}" for note in _notes(table, runs)]
    yield from ["", *notes] if notes else []


def _lines(table: Table, runs: list[Run]) -> Iterator[str]:
    """Of rows that were run, or of which there is a published figure."""
    metrics = [name for name in table.metrics if any(name in run.metrics for run in runs)]
    yield f"| | {' | '.join(metrics)} | seeds | minutes |"
    yield f"| --- |{' ---: |' * (len(metrics) + 2)}"
    for row in table.rows:
        own = [run for run in runs if run.row == row.name]
        if own or row.published:
            minutes = f"{fmean(run.seconds for run in own) / 60:.1f}" if own else ""
            cells = [_cell(table, row, metric, own) for metric in metrics]
            yield f"| {row.name} | {' | '.join(cells)} | {len(own)} | {minutes} |"


def _notes(table: Table, runs: list[Run]) -> Iterator[str]:
    """Reasons, verdicts, and what was not run."""
    run_rows, reasons = {run.row for run in runs}, dict[str, list[str]]()
    for row in table.rows:
        if row.name in run_rows and row.why:
            reasons.setdefault(row.why, []).append(row.name)
    yield from (f"{'; '.join(names)}: {why}" for why, names in reasons.items())
    yield from (verdict for ordering in table.orderings if (verdict := describe_ordering(ordering, runs)))
    yield from _uncertainty([run.metrics[ERROR] for run in runs if ERROR in run.metrics])
    for equivalence in table.equivalences:
        pairs = _by_seed(runs, equivalence.metric, equivalence.rows)
        yield from [equivalence.told(pairs)] if pairs else []
    missing = [row.name for row in table.rows if row.name not in run_rows]
    yield from [f"Not run: {'; '.join(missing)}."] if missing else []


def _cell(table: Table, row: Row, metric: str, runs: Iterable[Run]) -> str:
    """`0.00102 ± 0.00001 [0.00198, -48%], goal 0.00100: missed by 2 %`; empty if the row has no such metric."""
    shown = table.metrics[metric]
    values = [run.metrics[metric] for run in runs if metric in run.metrics]
    judged = _judged(row.goals[metric], values, shown) if metric in row.goals else ""
    if not values:
        return f"[{row.published[metric]:{shown}}]{judged}" if metric in row.published else ""
    if shown == COUNT:
        return f"{sum(values):.0f} of {len(values)}"
    published = _beside(row.published[metric], fmean(values), shown) if metric in row.published else ""
    return f"{fmean(values):{shown}}{_spread(values, shown)}{published}{judged}"


def _spread(values: list[float], shown: str) -> str:
    """Their standard deviation, by one significant digit where theirs would show none; empty if there is none."""
    spread = stdev(values) if len(values) > 1 else 0.0
    if not spread:
        return ""
    rounded = f"{spread:{shown}}"
    return f" ± {rounded if float(rounded) else f'{spread:.1g}'}"


def _judged(goal: Goal, values: list[float], shown: str) -> str:
    within = f" ± {goal.within:{shown}}" if goal.within is not None else ""
    aim = f", goal {goal.bound:{shown}}{within}: "
    if not values:
        return f"{aim}not run"
    found = fmean(values)
    return f"{aim}met" if goal.met(found) else f"{aim}missed by {100 * abs(found / goal.bound - 1):.2g} %"


def _beside(published: float, found: float, shown: str) -> str:
    """What was published, and the distance from it in %."""
    return f" [{published:{shown}}, {found / published - 1:+z.0%}]"


def describe_ordering(ordering: Ordering, runs: Iterable[Run]) -> str | None:
    """In how many of the seeds that all its rows have the ordering holds; None if there is no such seed."""
    whole = _by_seed(runs, ordering.metric, ordering.rows)
    if not whole:
        return None
    broken = [ordering.broken(values) for values in whole]
    times = f"{ordering.factor:g} x " if ordering.factor != 1 else ""
    seeds = "seed" if len(whole) == 1 else "seeds"
    told = f" > {times}".join(ordering.rows)
    but = ""
    if len(ordering.rows) > 2 and any(broken):
        links = Counter(chain.from_iterable(broken)).items()
        but = ", but not " + ", ".join(f"{before} > {times}{after} in {count}" for (before, after), count in links)
    elif len(ordering.rows) == 2 and ordering.metric == ERROR:
        larger, smaller = ordering.rows
        but = ", by " + ", ".join(f"{values[larger] - values[smaller]:+z.2f}" for values in whole)
    why = f": {ordering.why}" if ordering.why and any(broken) else ""
    return f"{ordering.metric}: {told} holds in {broken.count([])} of {len(whole)} {seeds}{but}{why}."


def _uncertainty(errors: list[float]) -> Iterator[str]:
    """What chance makes of an error in %, by the binomial distribution."""
    if errors:
        mean = fmean(errors)
        spread = 100 * (mean / 100 * (1 - mean / 100) / TEST_IMAGES) ** 0.5
        yield (
            f"The standard deviation of {ERROR} that chance alone makes of {TEST_IMAGES:,} images is {spread:.2f} at "
            f"the mean of the rows, {mean:.1f}; every row has the same images."
        )


def _by_seed(runs: Iterable[Run], metric: str, rows: tuple[str, ...]) -> list[dict[str, float]]:
    """{row: value of the metric} for each seed that all the rows have."""
    values: dict[int, dict[str, float]] = {}
    for run in runs:
        if run.row in rows and metric in run.metrics:
            values.setdefault(run.seed, {})[run.row] = run.metrics[metric]
    return [seen for seen in values.values() if len(seen) == len(rows)]
