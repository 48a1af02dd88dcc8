"""The report: a table for the terminal and for a README, pictures, and one self-contained page."""

import html
import re
from pathlib import Path
from typing import Any

from benchmarks.report import charts
from benchmarks.report.goals import GOAL_COLUMNS, goal_rows
from benchmarks.report.results_file import Results
from benchmarks.timing.intervals import Interval, verdict

CLOCKS = {"cpu": "processor time of one thread", "wall": "wall time"}
REFERENCES = ("gemm numpy", "indices")  # floors that tables leave out beside a contender's own

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: .9rem; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.answer { border-left: .3rem solid #0072b2; padding: .1rem 1rem; margin: 1rem 0; background: #8881; }
.answer p { margin: .4rem 0; } .big { font-size: 1.3rem; }
.wrapped td + td { white-space: normal; overflow-wrap: anywhere; text-align: left; }
.lines { width: 100%; max-width: 36rem; }
.no { color: #e33; font-weight: bold; } .busy { border-color: #e69f00; }
"""

Rows = dict[str, list[dict[str, Any]]]


def ratio_rows(results: Results, *, clock: str) -> Rows:
    """{case: its ratios by that clock, fastest first}, each with the contender's microseconds an image, with
    `fell_back_to`, the residency of a dataset that did not fit as its route has it, and with `floor` and `times`, its
    own floor and how many times that it takes, where one was timed.
    """
    measured = [row for row in results.measurements if row["unit"].startswith(clock)]
    medians = {(row["case"], row["contender"]): row["median"] for row in measured}
    floors = {
        (row["case"], times["contender"]): {"floor": row["floor"], "times": times}
        for row in results.floors
        if row["unit"].startswith(clock) and row["floor"] not in REFERENCES
        for times in row["times"]
    }
    settings = {(row["case"], row["contender"]): row["settings"] for row in results.profiles}
    grouped: Rows = {}
    for row in results.ratios:
        key = row["case"], row["contender"]
        if row["clock"] == clock:
            residency = settings.get(key, {}).get("fell back to")
            beside = {"microseconds": medians[key] * 1e6, "fell_back_to": residency} | floors.get(key, {})
            grouped.setdefault(row["case"], []).append(row | beside)
    return {case: sorted(rows, key=lambda row: -row["median"]) for case, rows in grouped.items()}


def print_table(results: Results) -> None:
    """Agreement in a line a case, then the ratios."""
    for case in dict.fromkeys(row["case"] for row in results.agreement):
        rows = [row for row in results.agreement if row["case"] == case]
        passed = sum(row["passed"] for row in rows)
        print(f"agreement  {case}: {passed} of {len(rows)} checks passed")
    for case, rows in ratio_rows(results, clock=results.clock).items():
        print(f"\n{case}; {CLOCKS[results.clock]}; times as fast as {rows[0]['baseline']}")
        for row in rows:
            floor = f"   {row['times']['median']:6.2f} x {row['floor']}" if "floor" in row else ""
            print(
                f"  {_label(row):28} {row['microseconds']:9.3f} us/image   "
                f"{row['median']:8.2f}x  [{row['low']:.2f}, {row['high']:.2f}]  {_verdict(row):19}{floor}"
            )
    for case, goal, found, span, said in goal_rows(results):
        print(f"goal       {case}: {goal}: {found}{span and f' [{span}]'} {said}")
    for row in results.refused:
        print(f"refused    {row['case']}: {row['reason']}")
    if results.environment.get("busy"):
        print("warning    the machine was busy: trust processor times, not wall times")


def _verdict(row: dict[str, Any]) -> str:
    if row["contender"] == row["baseline"]:
        return "the baseline"
    return verdict(Interval(row["median"], row["low"], row["high"]))


def _label(row: dict[str, Any]) -> str:
    return row["contender"] + (f" (fell back to {row['fell_back_to']})" if row["fell_back_to"] else "")


def plot_ratios(results: Results, folder: Path) -> list[Path]:
    """A picture per case: ratios with intervals, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    paths = []
    for case, rows in ratio_rows(results, clock=results.clock).items():
        figure, axes = pyplot.subplots(figsize=(8, 0.9 + 0.42 * len(rows)), layout="constrained")
        places = range(len(rows), 0, -1)
        medians = [row["median"] for row in rows]
        spread = [[row["median"] - row["low"] for row in rows], [row["high"] - row["median"] for row in rows]]
        axes.barh(places, medians, xerr=spread, color="#0072B2", ecolor="#D55E00", capsize=3)
        for place, row in zip(places, rows):
            axes.annotate(f"  {row['median']:.3g}x", (row["high"], place), va="center", fontsize=9)
        axes.set_yticks(places, [row["contender"] for row in rows])
        axes.axvline(1, color="black", linewidth=1)
        axes.set_xscale("log")
        axes.margins(x=0.2)
        axes.set_xlabel(f"times as fast as {rows[0]['baseline']}, {CLOCKS[results.clock]}, 95 % interval")
        axes.set_title(case, fontsize=10)
        paths.append(folder / f"{re.sub('[^a-z0-9]+', '-', case)}.png")
        figure.savefig(paths[-1], dpi=120)
        pyplot.close(figure)
    return paths


def write_report(results: Results, path: Path) -> None:
    """One page that needs nothing but itself."""
    environment = {name: value for name, value in results.environment.items() if value not in (None, {})}
    grouped = ratio_rows(results, clock=results.clock)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>Autoencoder benchmark</title><style>{STYLE}{charts.STYLE}</style>",
        f"<h1>Autoencoder benchmark</h1><p>{html.escape(_summary(results))}</p>",
        _busy(results),
        *(_answer(case, rows) for case, rows in grouped.items()),
        *(_case(results, case, rows) for case, rows in grouped.items()),
        _scaling(grouped),
        _goals(results),
        _floors(results),
        _agreement(results),
        "<h2>Refused</h2>" if results.refused else "",
        _table(["case", "reason"], [[row["case"], row["reason"]] for row in results.refused]),
        "<h2>Machine</h2>",
        "<div class=wrapped>",
        _table(["", ""], [[name, _told(value)] for name, value in environment.items()]),
        "</div>",
        f"<p><code>{html.escape(' '.join(results.command))}</code></p></html>",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _summary(results: Results) -> str:
    passed = sum(row["passed"] for row in results.agreement)
    machine = f"{results.environment.get('gpu') or results.environment['cpu']}, {CLOCKS[results.clock]}"
    return f"{passed} of {len(results.agreement)} agreement checks passed on {results.dataset}. {machine}."


def _told(value: Any) -> str:
    return ", ".join(f"{name} {each}" for name, each in value.items()) if isinstance(value, dict) else str(value)


def _busy(results: Results) -> str:
    if not results.environment.get("busy"):
        return ""
    return "<div class='answer busy'><p>The machine was busy: trust processor times, not wall times.</p></div>"


def _answer(case: str, rows: list[dict[str, Any]]) -> str:
    """Which is fastest, by how much, how sure, how close to the floor."""
    first = rows[0]
    close = [row["contender"] for row in rows[1:] if row["high"] >= first["low"]]
    said = f"{first['median']:.2f} times as fast as {first['baseline']} ({first['low']:.2f} to {first['high']:.2f})"
    if first["contender"] == first["baseline"]:
        said = "the baseline; nothing is faster"
    if close:
        said += f"; its interval overlaps those of {', '.join(close)}"
    if "floor" in first:
        said += f". It takes {first['times']['median']:.2f} times its floor, {_floor_name(first['floor'])}"
    heading = f"<p class=big><b>{html.escape(first['contender'])}</b></p>"
    return f"<div class=answer><p>{html.escape(case)}</p>{heading}<p>{html.escape(said)}.</p></div>"


def _floor_name(floor: str) -> str:
    library = floor.removeprefix("gemm ")
    return "a copy of the float32 batches" if floor == "copy" else f"the same matrix products alone in {library}"


def _case(results: Results, case: str, rows: list[dict[str, Any]]) -> str:
    profiles = {row["contender"]: row for row in results.profiles if row["case"] == case}
    parts = {
        row["contender"]: charts.time_parts(profiles[row["contender"]]["microseconds_per_image"])
        for row in rows
        if row["contender"] in profiles
    }
    told = {contender: found for contender, found in parts.items() if len(found) > 1}
    return "".join(
        [
            f"<h2>{html.escape(case)}</h2>",
            f"<p>Times as fast as {html.escape(rows[0]['baseline'])}: median and 95 % interval, logarithmic.</p>",
            charts.ratio_chart(rows),
            f"<p>Where the time of an image goes.</p>{charts.parts_chart(told)}" if told else "",
            _ratio_table(rows),
            _profile_table([profiles[row["contender"]] for row in rows if row["contender"] in profiles]),
        ]
    )


def _ratio_table(rows: list[dict[str, Any]]) -> str:
    return _table(
        ["contender", "us per image", f"times {rows[0]['baseline']}", "95 % interval", "verdict", "times its floor"],
        [
            [
                _label(row),
                f"{row['microseconds']:.3f}",
                f"{row['median']:.2f}",
                f"{row['low']:.2f} to {row['high']:.2f}",
                _verdict(row),
                _floor_times(row),
            ]
            for row in rows
        ],
    )


def _floor_times(row: dict[str, Any]) -> str:
    if "floor" not in row:
        return ""
    return f"{row['times']['median']:.2f} ({row['times']['low']:.2f} to {row['times']['high']:.2f})"


FLOOR_COLUMNS = ["floor", "us per image", "Gflop/s"]
PROFILE_COLUMNS = {  # {heading: (key, factor, format)}
    "first epoch, s": ("first_epoch_seconds", 1, ".2f"),
    "step p50, ms": ("step_seconds_p50", 1e3, ".2f"),
    "step p95, ms": ("step_seconds_p95", 1e3, ".2f"),
    "operators a step": ("operators_per_step", 1, ".0f"),
    "launches a step": ("launches_per_step", 1, ".0f"),
    "waits for data, %": ("data_wait_fraction", 100, ".0f"),
    "to the mean image's error, s": ("seconds_to_target", 1, ".2f"),
    "host memory, MB": ("peak_host_bytes", 1e-6, ".0f"),
    "device memory, MB": ("peak_device_bytes", 1e-6, ".0f"),
    "energy an image, mJ": ("joules_per_image", 1e3, ".2f"),
}


def _profile_table(profiles: list[dict[str, Any]]) -> str:
    used = {heading: how for heading, how in PROFILE_COLUMNS.items() if any(row.get(how[0]) for row in profiles)}
    lines = []
    for row in profiles:
        cells = [
            "" if (value := row.get(key)) is None else format(value * factor, shown)
            for key, factor, shown in used.values()
        ]
        lines.append([row["contender"], *cells])
    return _details("More of each contender", _table(["contender", *used], lines)) if used else ""


def _scaling(grouped: Rows) -> str:
    """How an image's time falls with the batch, and stands with the number of images."""
    batches: dict[str, dict[str, list[tuple[float, float]]]] = {}
    counts: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for case, rows in grouped.items():
        named = re.fullmatch(r"(.+), batch (\d+), (.+)", case)
        if not named:
            continue
        what, batch, split = named.groups()
        count = re.search(r"[\d,]+$", split)
        for row in rows:
            point = row["microseconds"]
            if what == "loading" or row["contender"].endswith("/lean"):
                batches.setdefault(f"{what}, {split}", {}).setdefault(row["contender"], []).append((int(batch), point))
            if what == "loading" and count:
                images = int(count[0].replace(",", ""))
                counts.setdefault(f"{what}, batch {batch}", {}).setdefault(row["contender"], []).append((images, point))
            if what.startswith("growth, "):
                images = int(row["contender"].removesuffix(" images").replace(",", ""))
                route = what.removeprefix("growth, ")
                counts.setdefault(f"growth, {split}", {}).setdefault(route, []).append((images, point))
    parts = []
    for across, charted in (("images per batch", batches), ("images in the dataset", counts)):
        for title, lines in charted.items():
            drawn = {name: sorted(points) for name, points in lines.items() if len({x for x, _ in points}) > 1}
            if drawn:
                chart = charts.line_chart(drawn, across=across, up="µs per image")
                parts.append(f"<h3>{html.escape(title)}: by {across}</h3>{chart}")
    return f"<h2>Scaling</h2>{''.join(parts)}" if parts else ""


def _goals(results: Results) -> str:
    rows = goal_rows(results)
    return f"<h2>Goals</h2>{_table(GOAL_COLUMNS, rows)}" if rows else ""


def _floors(results: Results) -> str:
    cases: dict[str, list[list[str]]] = {}
    for row in results.floors:
        if row["unit"].startswith(results.clock):
            rate = f"{row['gigaflops']:.0f}" if row.get("gigaflops") else ""
            cases.setdefault(row["case"], []).append([row["floor"], f"{row['median'] * 1e6:.3f}", rate])
    tables = [f"<h3>{html.escape(case)}</h3>{_table(FLOOR_COLUMNS, rows)}" for case, rows in cases.items()]
    return f"<h2>Floors</h2>{''.join(tables)}" if tables else ""


def _agreement(results: Results) -> str:
    rows = [
        [
            row["case"],
            row["framework"],
            row["check"],
            f"{float(row['value']):.1e}",
            f"{float(row['tolerance']):.1e}",
            "yes" if row["passed"] else "NO",
        ]
        for row in results.agreement
    ]
    table = _table(["case", "framework", "check", "difference", "allowed", "passed"], rows)
    return f"<h2>Agreement</h2>{_details(f'{len(rows)} checks', table)}"


def _details(summary: str, inside: str) -> str:
    return f"<details><summary>{html.escape(summary)}</summary>{inside}</details>"


def _table(header: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    lines = [f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows]
    return f"<table><tr>{cells}</tr>{''.join(lines)}</table>"


def _cell(value: str) -> str:
    return f"<td{' class=no' if value == 'NO' else ''}>{html.escape(value)}</td>"


def markdown(content: dict[str, Any]) -> str:
    """The tables of a results file (as `read_results` returns it) for a README."""
    results = Results.from_content(content)
    lines = [run_line(content)]
    for case, rows in ratio_rows(results, clock=results.clock).items():
        floor = " times its floor |" if any("floor" in row for row in rows) else ""
        lines += ["", f"**{case}**", ""]
        lines.append(f"| contender | µs per image | times {rows[0]['baseline']} | 95 % interval |{floor}")
        lines.append("| --- | ---: | ---: | --- |" + (" ---: |" if floor else ""))
        for row in rows:
            span = f"{row['low']:.2f} to {row['high']:.2f}"
            times = f" {row['times']['median']:.2f} |" if "floor" in row else " |" if floor else ""
            line = f"| {_label(row)} | {row['microseconds']:.3f} | {row['median']:.2f} | {span} |{times}"
            lines.append(line)
    if goal_rows(results):
        lines += ["", "**Goals**", "", *goal_lines(results)]
    return "\n".join(lines) + "\n"


def run_line(content: dict[str, Any]) -> str:
    """When, of what, on what machine and by which versions; whether it was busy, and what was proved."""
    machine, proofs = content["environment"], content["agreement"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    on_cpu = Results.from_content(content).clock == "cpu"
    timed_on = f"{machine['cpu']}, one thread" if on_cpu else f"{machine.get('gpu')}, wall time"
    busy = ", not idle" if machine.get("busy") else ""
    passed = f"{sum(row['passed'] for row in proofs)} of {len(proofs)} agreement checks passed."
    return f"{content['created'][:10]}, {content['dataset']}, {timed_on}{busy}; {versions}. {passed}"


def goal_lines(*runs: Results) -> list[str]:
    """What runs are held to, as a table in Markdown; a case of several is taken from the first."""
    rows: list[list[str]] = []
    known: set[tuple[object, str]] = set()
    for results in runs:
        device, found = results.environment.get("device"), goal_rows(results)
        rows += [row for row in found if (device, row[0]) not in known]
        known |= {(device, row[0]) for row in found}
    header = [f"| {' | '.join(GOAL_COLUMNS)} |", "| --- | --- | ---: | --- | --- |"]
    return header + [f"| {' | '.join(row)} |" for row in rows]
