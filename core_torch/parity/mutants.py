"""The mutation table: every bug on every architecture, the first level that rejects it, and what the diagnosis says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from core_torch.parity.bugs.catalogue import BUGS, Bug
from core_torch.parity.golden_traces import SLIM, golden_judges
from core_torch.parity.hypotheses import Evidence
from core_torch.parity.judge import Judge, agree
from core_torch.parity.matrix import Cell, Judges
from core_torch.parity.trace import Trace, answers_of
from core_torch.spec.recipe import OBJECTIVES

SURVIVES = "survives"
NOWHERE = "-"  # the architecture has no place for the bug


@dataclass(frozen=True)
class Mutant:
    """What became of a bug: the level that rejected it, and which bugs the diagnosis names.

    Attributes:
        names: of the bugs that are named; the right one alone, if all is well.
        wrong: those of them that are neither the bug nor compute the same numbers.
    """

    level: str
    names: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


def cells_of(model: str, *, steps: int = 10) -> list[Cell]:
    """List where a bug is looked for, in this order: the usual recipe, the other objectives, Adam."""
    objectives = [Cell(model=model, objective=objective, steps=steps) for objective in OBJECTIVES]
    return [*objectives, *(Cell(model=model, optimizer=optimizer, steps=steps) for optimizer in ("adam", "adamw"))]


def mutation_table(
    judges: Judges | None = None, bugs: Mapping[str, Bug] = BUGS, *, steps: int = 10
) -> Iterator[tuple[str, dict[str, Mutant]]]:
    """Yield (model, {bug: what became of it}) for every architecture."""
    judges = judges or golden_judges()
    for model in SLIM:
        found: dict[str, Mutant] = {}
        for cell in cells_of(model, steps=steps):
            judge = judges.judge(cell)
            here = {name: bug for name, bug in bugs.items() if name not in found and bug.needs(judge.problem)}
            found |= mutants_of(judge, here)
        yield model, {name: found.get(name, Mutant(NOWHERE)) for name in bugs}


def mutants_of(judge: Judge, planted: Mapping[str, Bug], known: Mapping[str, Bug] = BUGS) -> dict[str, Mutant]:
    """Plant each bug on the judge's problem; judge it, and ask the diagnosis. Each bug is computed once."""
    bugs = {name: bug for name, bug in known.items() if bug.needs(judge.problem)} if planted else {}
    with np.errstate(all="ignore"):
        answers = {
            name: list(answers_of(bug.candidate(judge.problem), judge.problem))
            for name, bug in {**bugs, **planted}.items()
        }
        return {name: _mutant(judge, name, bugs, answers) for name in planted}


def _mutant(judge: Judge, name: str, bugs: Mapping[str, Bug], answers: Mapping[str, list[Trace]]) -> Mutant:
    found: Trace = {key: value for part in answers[name] for key, value in part.items()}
    checks = judge.verdict(found, "")
    if agree(checks):
        return Mutant(SURVIVES)
    evidence = Evidence(judge.problem, judge.truth, found, judge.budget)
    named = [other for other, bug in bugs.items() if evidence.is_reproduced_by(bug, answers[other])]
    wrong = [other for other in named if other != name and not evidence.is_computed_by(answers[other])]
    return Mutant(checks[-1].level, tuple(named), tuple(wrong))


def verdict(bug: Bug, judges: list[Judge]) -> str:
    """Name the level that rejects the bug on the first problem where it can exist."""
    for judge in judges:
        if bug.needs(judge.problem):
            checks = judge.check(bug.candidate(judge.problem), "bug")
            return SURVIVES if agree(checks) else checks[-1].level
    return NOWHERE
