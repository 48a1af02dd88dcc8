"""The tables of a run: for the terminal, for a README and for the page."""

from typing import Any

from benchmarks.report.goals import GOAL_COLUMNS, goal_rows
from benchmarks.report.results_file import Results
from benchmarks.timing.intervals import Interval, verdict

CLOCK_NAMES = {"cpu": "processor time of one thread", "wall": "wall time"}
REFERENCES = ("gemm numpy", "indices")  # floors that tables leave out beside a contender's own

Row = dict[str, Any]
Rows = dict[str, list[Row]]


def ratio_rows(results: Results, *, clock: str) -> Rows:
    """{case: its ratios by that clock, fastest first}, each with the contender's microseconds an image, with
    `fell_back_to`, the residency of a dataset that did not fit as its variant has it, and with `floor` and `times`, its
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
        print(f"\n{case}; {CLOCK_NAMES[results.clock]}; times as fast as {rows[0]['baseline']}")
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


def _verdict(row: Row) -> str:
    if row["contender"] == row["baseline"]:
        return "the baseline"
    return verdict(Interval(row["median"], row["low"], row["high"]))


def _label(row: Row) -> str:
    return str(row["contender"]) + (f" (fell back to {row['fell_back_to']})" if row["fell_back_to"] else "")


def ratio_columns(baseline: str) -> list[str]:
    """Name the columns of `ratio_cells`."""
    return ["contender", "us per image", f"times {baseline}", "95 % interval", "verdict", "times its floor"]


def ratio_cells(row: Row) -> list[str]:
    """Format a row of `ratio_rows`."""
    span = f"{row['low']:.2f} to {row['high']:.2f}"
    return [
        _label(row),
        f"{row['microseconds']:.3f}",
        f"{row['median']:.2f}",
        span,
        _verdict(row),
        _floor_times(row),
    ]


def _floor_times(row: Row) -> str:
    if "floor" not in row:
        return ""
    return f"{row['times']['median']:.2f} ({row['times']['low']:.2f} to {row['times']['high']:.2f})"


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


def profile_table(profiles: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Format profiles: the columns that have a value anywhere, and a row each."""
    used = {heading: how for heading, how in PROFILE_COLUMNS.items() if any(row.get(how[0]) for row in profiles)}
    rows = []
    for row in profiles:
        cells = [
            "" if (value := row.get(key)) is None else format(value * factor, shown)
            for key, factor, shown in used.values()
        ]
        rows.append([row["contender"], *cells])
    return (["contender", *used], rows) if used else ([], [])


def floor_rows(results: Results) -> dict[str, list[list[str]]]:
    """Format {case: its floors} by the clock that the run is judged by."""
    cases: dict[str, list[list[str]]] = {}
    for row in results.floors:
        if row["unit"].startswith(results.clock):
            rate = f"{row['gigaflops']:.0f}" if row.get("gigaflops") else ""
            cases.setdefault(row["case"], []).append([row["floor"], f"{row['median'] * 1e6:.3f}", rate])
    return cases


def agreement_rows(results: Results) -> list[list[str]]:
    """Format every check."""
    return [
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
