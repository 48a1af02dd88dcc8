"""The mutation table: every bug on every architecture, and the weakest level of the judge that rejects it."""

from collections.abc import Iterator

from core_torch.parity.bugs.catalogue import BUGS, Bug
from core_torch.parity.golden_traces import SLIM, golden_judges
from core_torch.parity.judge import Judge, agree
from core_torch.parity.matrix import Cell, Judges
from core_torch.spec.recipe import OBJECTIVES

SURVIVES = "survives"
NOWHERE = "-"  # the architecture has no place for the bug


def cells_of(model: str) -> list[Cell]:
    """Where a bug is looked for, in this order: the usual recipe, the other objectives, Adam."""
    objectives = [Cell(model=model, objective=objective) for objective in OBJECTIVES]
    return [*objectives, *(Cell(model=model, optimizer=optimizer) for optimizer in ("adam", "adamw"))]


def mutation_table(judges: Judges | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """(bug, {model: the first level that rejects it, or `SURVIVES`, or `NOWHERE`})."""
    judges = judges or golden_judges()
    for name, bug in BUGS.items():
        yield name, {model: verdict(bug, [judges.judge(cell) for cell in cells_of(model)]) for model in SLIM}


def verdict(bug: Bug, judges: list[Judge]) -> str:
    """By the first judge on whose problem the bug can exist."""
    for judge in judges:
        if bug.needs(judge.problem):
            checks = judge.check(bug.candidate(judge.problem), "bug")
            return SURVIVES if agree(checks) else checks[-1].level
    return NOWHERE


def markdown(rows: dict[str, dict[str, str]]) -> str:
    """The table for a README."""
    lines = [f"| bug | {' | '.join(SLIM)} |", f"| --- |{' --- |' * len(SLIM)}"]
    lines += [f"| {name} | {' | '.join(row.values())} |" for name, row in rows.items()]
    survivors = sum(level == SURVIVES for row in rows.values() for level in row.values())
    tried = {model: sum(row[model] != NOWHERE for row in rows.values()) for model in SLIM}
    counted = ", ".join(f"{count} on {model}" for model, count in tried.items())
    return "\n".join([*lines, "", f"{len(rows)} bugs: {counted}. Survivors: {survivors}.", ""])
