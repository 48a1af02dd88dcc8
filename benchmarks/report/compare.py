"""Two results files side by side: which ratios moved, and whether by more than chance."""

from pathlib import Path
from typing import Any

from benchmarks.report.reading import read_results
from benchmarks.report.results_file import Results
from core_torch.spec.errors import DataFormatError

THRESHOLD = 0.10  # share of a ratio that may be lost before a comparison fails


def compare(old_path: Path, new_path: Path, *, threshold: float = THRESHOLD) -> tuple[list[dict[str, Any]], bool]:
    """(a row for every ratio in both files, whether all stayed above the threshold).

    A ratio is lost if its median fell by more than `threshold` and the two intervals do not overlap, or if
    its contender is gone from a case that was run again, or the case was refused; by the clock that the new file
    judges by, not by the other.

    Raises:
        DataFormatError: a file is not a results file, the two have no ratio in common, or are of different devices.
    """
    contents = [read_results(path) for path in (old_path, new_path)]
    old, new = ({_key(row): row for row in content["ratios"]} for content in contents)
    clock, before = (Results.from_content(content).clock for content in reversed(contents))
    if not old.keys() & new.keys():
        raise DataFormatError(f"{new_path}: has no ratio that {old_path} has as well")
    if clock != before:
        raise DataFormatError(f"{new_path}: is judged by the {clock} clock, {old_path} on another device by {before}")
    # Cases; a contender that is gone from one of them has lost everything.
    repeated = {key[0] for key in new} | {row["case"] for row in contents[1]["refused"]}
    gone = {"median": 0.0, "low": 0.0, "high": 0.0}
    rows = [_row(key, old[key], new.get(key, gone), threshold=threshold) for key in old if key[0] in repeated]
    for row in rows:
        row["lost"] = row["lost"] and row["clock"] == clock
    return rows, not any(row["lost"] for row in rows)


def find_refuted(rows: list[dict[str, Any]], *, clock: str, threshold: float = THRESHOLD) -> list[dict[str, Any]]:
    """The rows of `compare`, by that clock, that a repetition does not confirm: intervals apart, and by more than
    `threshold` of the ratio, in either direction.
    """
    apart = [row for row in rows if row["clock"] == clock and row["distinguishable"]]
    return [row for row in apart if abs(row["change"]) > threshold]


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return row["case"], row["contender"], row["baseline"], row["clock"]


def _row(key: tuple[str, ...], old: dict[str, Any], new: dict[str, Any], *, threshold: float) -> dict[str, Any]:
    change = new["median"] / old["median"] - 1
    apart = new["low"] > old["high"] or new["high"] < old["low"]
    return {
        "case": key[0],
        "contender": key[1],
        "clock": key[3],
        "old": old["median"],
        "new": new["median"],
        "old_interval": [old["low"], old["high"]],
        "new_interval": [new["low"], new["high"]],
        "change": change,
        "distinguishable": apart,
        "lost": apart and change < -threshold,
    }
