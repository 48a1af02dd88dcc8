"""Read results.json, and refuse what is not one.

What a reader may rely on is in results.schema.json. Beyond that, no time without a proof: a measurement names
the passed checks of its contender, and a digest of what it computed.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report.results_file import row_id
from benchmarks.report.schema import read_json
from benchmarks.timing.intervals import interval
from core_torch.spec.errors import DataFormatError

SCHEMA_FILE = Path(__file__).with_name("results.schema.json")
ROUNDING = 1e-9  # relative, of a ratio that is computed again
# {what a stored run may call something: what it is called now}, wherever it stands in a name.
OLD_NAMES = {"64-at-once": "ensemble-64", "growth": "scaling"}


def read_results(path: Path) -> dict[str, Any]:
    """Return a results file that is whole, of a known schema, and proves what it timed, by today's names.

    Raises:
        DataFormatError: anything else.
    """
    content: dict[str, Any] = read_json(path, json.loads(SCHEMA_FILE.read_bytes()))
    if difference := next(_find_unproved(content), None):
        raise DataFormatError(f"{path}: {difference}")
    renamed: dict[str, Any] = use_current_names(content)
    return renamed


def use_current_names(value: Any) -> Any:
    """Replace the names of `OLD_NAMES` in every text: cases, contenders and the command of an older version."""
    if isinstance(value, str):
        for old, new in OLD_NAMES.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, dict):
        return {name: use_current_names(item) for name, item in value.items()}
    return [use_current_names(item) for item in value] if isinstance(value, list) else value


def _gives(over: list[float], under: list[float], row: Mapping[str, Any]) -> bool:
    """Tell whether a row's median and interval are those of one list of samples over the other, pair by pair."""
    if not over or len(over) != len(under):
        return False
    found = asdict(interval([above / below for above, below in zip(over, under)]))
    return all(math.isclose(row[name], value, rel_tol=ROUNDING) for name, value in found.items())


def _is_number(value: Any) -> bool:
    """Tell whether it is a number; infinity and NaN are stored as strings."""
    try:
        return isinstance(float(value), float)
    except (TypeError, ValueError, OverflowError):
        return False


def _find_unproved(content: dict[str, Any]) -> Iterator[str]:
    """Find figures that the samples do not give, and times without a passed check of that contender in that case."""
    for number, row in enumerate(content["agreement"]):
        if not all(_is_number(row.get(name)) for name in ("value", "tolerance")):
            yield f"agreement[{number}] has a value or a tolerance that is not a number"
    for number, row in enumerate(content["measurements"]):
        if len(row["samples"]) != row["n"]:
            yield f"measurements[{number}] has {len(row['samples'])} samples, and says {row['n']}"
        elif not _gives(row["samples"], [1.0] * len(row["samples"]), row):
            yield f"measurements[{number}] is not what its samples give"
    keys = [(row["case"], row["contender"], row["baseline"], row["clock"]) for row in content["ratios"]]
    if len(keys) > len(set(keys)):
        yield "ratios has one of them twice"
    samples = {
        (row["case"], row["contender"], row["unit"].split(" ")[0]): row["samples"] for row in content["measurements"]
    }
    for number, row in enumerate(content["ratios"]):
        own, others = (samples.get((row["case"], row[name], row["clock"]), []) for name in ("contender", "baseline"))
        if not own or not others:
            yield f"ratios[{number}] has no measurement"
        elif not _gives(others, own, row):
            yield f"ratios[{number}] is not what its samples give"
    for number, row in enumerate(content["floors"]):
        if not row["samples"] or not math.isclose(np.median(row["samples"]), row["median"], rel_tol=ROUNDING):
            yield f"floors[{number}] is not what its samples give"
        for place, times in enumerate(row["times"]):
            own = samples.get((row["case"], times["contender"], row["unit"].split(" ")[0]), [])
            if not _gives(own, row["samples"], times):
                yield f"floors[{number}].times[{place}] is not what its samples give"
    if content["schema"] == 1:
        return
    passed = {row["id"]: row for row in content["agreement"] if row["passed"] and row["id"] == row_id(row)}
    for number, row in enumerate(content["measurements"]):
        own = {(proof["case"], proof["framework"]) for name in row["agreement"] if (proof := passed.get(name))}
        if not set(row["agreement"]) <= passed.keys() or (row["case"], row["contender"]) not in own:
            yield f"measurements[{number}] has no passed check of its contender"
