"""The page of a run: the answers first, then charts and tables, in one file."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.report.charts import draw_lines, draw_parts, draw_ratios, plain, split_time
from benchmarks.report.goals import GOAL_COLUMNS, goal_rows
from benchmarks.report.results_file import Results
from benchmarks.report.tables import (
    CLOCK_NAMES,
    Row,
    agreement_rows,
    floor_rows,
    profile_table,
    ratio_cells,
    ratio_columns,
    ratio_rows,
)

TEMPLATE = Path(__file__).with_name("report.html")
DOTS_PER_INCH = 120
Lines = dict[str, list[tuple[float, float]]]


def plot_ratios(results: Results, folder: Path) -> list[Path]:
    """Write a picture per case: ratios with intervals, on a logarithmic axis."""
    paths = []
    for case, rows in ratio_rows(results, clock=results.clock).items():
        across = f"times as fast as {rows[0]['baseline']}, {CLOCK_NAMES[results.clock]}, 95 % interval"
        paths.append(folder / f"{re.sub('[^a-z0-9]+', '-', case)}.png")
        draw_ratios(rows, title=plain(case), across=plain(across)).savefig(paths[-1], dpi=DOTS_PER_INCH)
    return paths


def write_report(results: Results, path: Path) -> None:
    """Write one page that needs nothing but itself."""
    from core_torch.files.page import write_page

    grouped = ratio_rows(results, clock=results.clock)
    environment = {name: value for name, value in results.environment.items() if value not in (None, {})}
    write_page(
        path,
        TEMPLATE,
        title="Autoencoder benchmark",
        summary=_summary(results),
        busy=bool(results.environment.get("busy")),
        cases=[_case(results, case, rows) for case, rows in grouped.items()],
        ratio_columns=ratio_columns,
        scaling=_scaling(grouped),
        goal_columns=GOAL_COLUMNS,
        goals=goal_rows(results),
        floors=floor_rows(results),
        agreement=agreement_rows(results),
        refused=[(row["case"], row["reason"]) for row in results.refused],
        machine=[(name, _text(value)) for name, value in environment.items()],
        command=" ".join(results.command),
    )


def _summary(results: Results) -> str:
    passed = sum(row["passed"] for row in results.agreement)
    machine = f"{results.environment.get('gpu') or results.environment['cpu']}, {CLOCK_NAMES[results.clock]}"
    return f"{passed} of {len(results.agreement)} agreement checks passed on {results.dataset}. {machine}."


def _text(value: object) -> str:
    return ", ".join(f"{name} {each}" for name, each in value.items()) if isinstance(value, dict) else str(value)


def _case(results: Results, case: str, rows: list[Row]) -> dict[str, Any]:
    """Gather what the template says of a case."""
    from core_torch.evaluation.embedding import embed_figure

    found = {row["contender"]: row for row in results.profiles if row["case"] == case}
    profiles = [found[row["contender"]] for row in rows if row["contender"] in found]
    parts = {row["contender"]: split_time(row["microseconds_per_image"]) for row in profiles}
    parts = {contender: times for contender, times in parts.items() if len(times) > 1}
    profile_columns, profile_rows = profile_table(profiles)
    baseline = rows[0]["baseline"]
    return {
        "name": case,
        "baseline": baseline,
        "fastest": rows[0]["contender"],
        "answer": _answer(rows),
        "ratios": embed_figure(draw_ratios(rows, title="", across=plain(f"times as fast as {baseline}"))),
        "parts": embed_figure(draw_parts(parts)) if parts else "",
        "table": [ratio_cells(row) for row in rows],
        "profile_columns": profile_columns,
        "profiles": profile_rows,
    }


def _answer(rows: list[Row]) -> str:
    """Say which is fastest, by how much, how sure, how close to the floor."""
    first = rows[0]
    close = [row["contender"] for row in rows[1:] if row["high"] >= first["low"]]
    text = f"{first['median']:.2f} times as fast as {first['baseline']} ({first['low']:.2f} to {first['high']:.2f})"
    if first["contender"] == first["baseline"]:
        text = "the baseline; nothing is faster"
    if close:
        text += f"; its interval overlaps those of {', '.join(close)}"
    if "floor" in first:
        text += f". It takes {first['times']['median']:.2f} times its floor, {_floor_name(first['floor'])}"
    return f"{text}."


def _floor_name(floor: str) -> str:
    library = floor.removeprefix("gemm ")
    return "a copy of the float32 batches" if floor == "copy" else f"the same matrix products alone in {library}"


def _scaling(grouped: dict[str, list[Row]]) -> list[tuple[str, str]]:
    """Draw how an image's time falls with the batch, and how it changes with the number of images."""
    from core_torch.evaluation.embedding import embed_figure

    charts = []
    for (title, across), lines in _scaling_lines(grouped).items():
        drawn = {name: sorted(points) for name, points in lines.items() if len({x for x, _ in points}) > 1}
        if drawn:
            figure = draw_lines(drawn, across=across, up="µs per image")
            charts.append((f"{title}: by {across}", embed_figure(figure)))
    return charts


def _scaling_lines(grouped: dict[str, list[Row]]) -> dict[tuple[str, str], Lines]:
    """Sort points into {(title, name of the x axis): {line: points}}, by what the names of cases say."""
    batches: dict[tuple[str, str], Lines] = defaultdict(lambda: defaultdict(list))
    counts: dict[tuple[str, str], Lines] = defaultdict(lambda: defaultdict(list))
    by_batch, by_count = "images per batch", "images in the dataset"
    for case, rows in grouped.items():
        named = re.fullmatch(r"(.+), batch (\d+), (.+)", case)
        if not named:
            continue
        what, batch, split = named.groups()
        size = re.search(r"[\d,]+$", split)
        for row in rows:
            name, time = row["contender"], row["microseconds"]
            if what == "loading" or name.endswith("/lean"):
                batches[f"{what}, {split}", by_batch][name].append((int(batch), time))
            if what == "loading" and size:
                counts[f"{what}, batch {batch}", by_count][name].append((_number(size[0]), time))
            if what.startswith("scaling, "):
                images = _number(name.removesuffix(" images"))
                counts[f"scaling, {split}", by_count][what.removeprefix("scaling, ")].append((images, time))
    return batches | counts


def _number(text: str) -> int:
    return int(text.replace(",", ""))
