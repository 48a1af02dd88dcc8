"""The report: a table for the terminal, pictures, and one self-contained page."""

import base64
import html
from pathlib import Path
from typing import Any

from benchmarks.results_file import Results
from benchmarks.timing import Interval, verdict

CLOCKS = {"cpu": "processor time", "wall": "wall time"}

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; background: white; border-radius: .5rem; }
.no { color: #d33; font-weight: bold; }
"""


def ratio_rows(results: Results, *, clock: str) -> dict[str, list[dict[str, Any]]]:
    """{case: its ratios by that clock, fastest first}, each with the contender's microseconds an image."""
    medians = {
        (row["case"], row["contender"]): row["median"]
        for row in results.measurements
        if row["unit"].startswith(clock)
    }
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in results.ratios:
        if row["clock"] == clock:
            microseconds = medians[row["case"], row["contender"]] * 1e6
            grouped.setdefault(row["case"], []).append(row | {"microseconds": microseconds})
    return {case: sorted(rows, key=lambda row: -row["median"]) for case, rows in grouped.items()}


def print_table(results: Results) -> None:
    """Agreement in a line a case, then the ratios."""
    for case in dict.fromkeys(row["case"] for row in results.agreement):
        rows = [row for row in results.agreement if row["case"] == case]
        passed = sum(row["passed"] for row in rows)
        print(f"agreement  {case}: {passed} of {len(rows)} checks passed")
    for case, rows in ratio_rows(results, clock="cpu").items():
        print(f"\n{case}; processor time, one thread; times as fast as {rows[0]['baseline']}")
        for row in rows:
            says = _verdict(row)
            print(
                f"  {row['contender']:28} {row['microseconds']:9.3f} us/image   "
                f"{row['median']:8.2f}x  [{row['low']:.2f}, {row['high']:.2f}]  {says}"
            )
    for row in results.refused:
        print(f"refused    {row['case']}: {row['reason']}")
    if results.environment["busy"]:
        print("warning    the machine was busy: trust processor times, not wall times")


def _verdict(row: dict[str, Any]) -> str:
    if row["contender"] == row["baseline"]:
        return "the baseline"
    return verdict(Interval(row["median"], row["low"], row["high"]))


def plot_ratios(results: Results, folder: Path) -> list[Path]:
    """A picture per case: ratios with intervals, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    paths = []
    for number, (case, rows) in enumerate(ratio_rows(results, clock="cpu").items()):
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
        axes.set_xlabel(f"times as fast as {rows[0]['baseline']}, processor time of one thread, 95 % interval")
        axes.set_title(case, fontsize=10)
        paths.append(folder / f"ratios-{number}.png")
        figure.savefig(paths[-1], dpi=120)
        pyplot.close(figure)
    return paths


def write_report(results: Results, pictures: list[Path], path: Path) -> None:
    """One page that needs nothing but itself."""
    environment = {name: value for name, value in results.environment.items() if value not in (None, {})}
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>Autoencoder benchmark</title><style>{STYLE}</style>",
        f"<h1>Autoencoder benchmark</h1><p>{html.escape(_summary(results))}</p>",
        *(f"<h2>{html.escape(case)}</h2>" + _picture(pictures, number) + _ratio_table(rows)
          for number, (case, rows) in enumerate(ratio_rows(results, clock="cpu").items())),
        "<h2>Agreement</h2>",
        _table(
            ["case", "framework", "check", "difference", "allowed", "passed"],
            [
                [row["case"], row["framework"], row["check"], f"{row['value']:.1e}", f"{row['tolerance']:.1e}",
                 "yes" if row["passed"] else "NO"]
                for row in results.agreement
            ],
        ),
        "<h2>Refused</h2>" if results.refused else "",
        _table(["case", "reason"], [[row["case"], row["reason"]] for row in results.refused]),
        "<h2>Machine</h2>",
        _table(["", ""], [[name, str(value)] for name, value in environment.items()]),
        f"<p><code>{html.escape(' '.join(results.command))}</code></p></html>",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _summary(results: Results) -> str:
    passed = sum(row["passed"] for row in results.agreement)
    said = f"{passed} of {len(results.agreement)} agreement checks passed on {results.dataset}."
    if results.environment["busy"]:
        said += " The machine was busy: trust processor times, not wall times."
    return said


def _ratio_table(rows: list[dict[str, Any]]) -> str:
    return _table(
        ["contender", "us per image", f"times {rows[0]['baseline']}", "95 % interval", "verdict"],
        [
            [row["contender"], f"{row['microseconds']:.3f}", f"{row['median']:.2f}",
             f"{row['low']:.2f} to {row['high']:.2f}",
             _verdict(row)]
            for row in rows
        ],
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    lines = [f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows]
    return f"<table><tr>{cells}</tr>{''.join(lines)}</table>"


def _cell(value: str) -> str:
    return f"<td{' class=no' if value == 'NO' else ''}>{html.escape(value)}</td>"


def _picture(pictures: list[Path], number: int) -> str:
    if number >= len(pictures):
        return ""
    return f"<img alt='ratios' src='data:image/png;base64,{base64.b64encode(pictures[number].read_bytes()).decode()}'>"


def markdown(content: dict[str, Any]) -> str:
    """The tables of a results file (as `read_results` returns it) for a README."""
    machine = content["environment"]
    passed = sum(row["passed"] for row in content["agreement"])
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = [
        f"{content['created'][:10]}, {content['dataset']}, {machine['cpu']}, one thread; {versions}. "
        f"{passed} of {len(content['agreement'])} agreement checks passed."
    ]
    results = Results(content["command"], machine, content["dataset"])
    results.measurements, results.ratios = content["measurements"], content["ratios"]
    for case, rows in ratio_rows(results, clock="cpu").items():
        lines += ["", f"**{case}**", "", f"| contender | µs per image | times {rows[0]['baseline']} | 95 % interval |"]
        lines.append("| --- | ---: | ---: | --- |")
        for row in rows:
            span = f"{row['low']:.2f} to {row['high']:.2f}"
            lines.append(f"| {row['contender']} | {row['microseconds']:.3f} | {row['median']:.2f} | {span} |")
    return "\n".join(lines) + "\n"
