"""Print the mutation table, and read the one that is published."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core_torch.parity.mutants import NOWHERE, SURVIVES, Mutant
from core_torch.parity.tolerances import LEVEL_NAMES

PUBLISHED = Path(__file__).with_name("mutants.json")
Table = dict[str, dict[str, dict[str, Any]]]  # {bug: {model: the fields of a Mutant}}


def table_of(columns: Iterable[tuple[str, Mapping[str, Mutant]]]) -> Table:
    """Turn the columns of the models into rows of the bugs."""
    table: Table = {}
    for model, column in columns:
        for name, mutant in column.items():
            row: dict[str, Any] = {"level": mutant.level}
            if mutant.level not in (NOWHERE, SURVIVES):
                row |= {"also": [other for other in mutant.names if other != name], "named": name in mutant.names}
                row |= {"wrong": list(mutant.wrong)}
            table.setdefault(name, {})[model] = row
    return table


def read_table(path: Path) -> Table:
    """Read what `--json` wrote."""
    table: Table = json.loads(path.read_text(encoding="utf-8"))
    return table


def has_failed(table: Table) -> bool:
    """Whether a bug survives, or is taken for another."""
    return any(count for count in _faults(table).values())


def markdown(table: Table) -> str:
    """Write the rows: the level that rejects each bug, and what the diagnosis says."""
    models = list(next(iter(table.values()), {}))
    lines = [f"| bug | {' | '.join(models)} | the diagnosis says |", f"| --- |{' --- |' * (len(models) + 1)}"]
    for name, row in table.items():
        levels = " | ".join(row[model]["level"] for model in models)
        lines.append(f"| {name} | {levels} | {_said(row)} |")
    return "\n".join([*lines, "", *_counts(table, models), ""])


def summary(table: Table) -> str:
    """Count how many bugs each level is the first to reject."""
    models = list(next(iter(table.values()), {}))
    counts = {model: Counter(row[model]["level"] for row in table.values()) for model in models}
    lines = [f"| level | {' | '.join(models)} |", f"| --- |{' --- |' * len(models)}"]
    for level in [*LEVEL_NAMES, SURVIVES]:
        lines.append(f"| {level} | {' | '.join(str(counts[model][level]) for model in models)} |")
    return "\n".join([*lines, "", *_counts(table, models), ""])


def _said(row: Mapping[str, Mapping[str, Any]]) -> str:
    """Say it once where it is the same on all architectures."""
    said = {}
    for model, cell in row.items():
        if "named" not in cell:
            continue
        others = cell["also"]
        text = "this bug" if cell["named"] and not others else "this bug or " if cell["named"] else "not this bug"
        said[model] = text + (", or ".join(others) if others else "")
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{model}: {text}" for model, text in said.items() if text != "this bug") or "this bug"


def _faults(table: Table) -> dict[str, int]:
    cells = [cell for row in table.values() for cell in row.values()]
    return {
        "Survivors": sum(cell["level"] == SURVIVES for cell in cells),
        "Bugs not named": sum(not cell.get("named", True) for cell in cells),
        "Wrong names": sum(len(cell.get("wrong", [])) for cell in cells),
    }


def _counts(table: Table, models: list[str]) -> list[str]:
    tried = {model: sum(row[model]["level"] != NOWHERE for row in table.values()) for model in models}
    counted = ", ".join(f"{count} on {model}" for model, count in tried.items())
    faults = " ".join(f"{what}: {count}." for what, count in _faults(table).items())
    return [f"{len(table)} kinds of bugs: {counted}; {sum(tried.values())} in all. {faults}"]
