"""The judge: a problem's float64 trace, what float32 rounding does to it, and a verdict level by level."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Self

from core_torch.parity.alive import check_alive
from core_torch.parity.candidate import Candidate
from core_torch.parity.distance import distances, members
from core_torch.parity.edges import edge_probes
from core_torch.parity.name_faults import weight_faults
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.parity.problem import Problem, steps_off_kinks
from core_torch.parity.rounding import own_distances, rounding_budget
from core_torch.parity.tolerances import LEVEL_NAMES, LEVELS, WELL_POSED, tolerances
from core_torch.parity.trace import Trace, check_trace, record_trace
from core_torch.spec.errors import ConfigError, ParityError, check_choice


@dataclass(frozen=True)
class Check:
    """One comparison; `value` and `tolerance` are in the measure of its level, `where` is the entry of the trace."""

    case: str
    framework: str
    level: str
    value: float
    tolerance: float
    passed: bool
    where: str = ""

    def to_row(self) -> dict[str, object]:
        """Return the fields as files store them, where the level's name is `check`."""
        return {"check" if name == "level" else name: value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Judge:
    """What is true of a problem, and how far float32 rounding alone strays from it.

    Attributes:
        truth: the oracle's float64 trace.
        budget: {level: the largest distance of float32 NumPy runs from it}.
        shorter_budgets: the same for fewer steps, where they are known.
    """

    problem: Problem
    truth: Trace
    budget: dict[str, float]
    shorter_budgets: dict[int, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, problem: Problem, *, steps: int = 10, batch_size: int = 32, allow_dead: bool = False) -> Self:
        """Run the oracle. A problem without batches gets as many of them as `steps` on the way.

        Raises:
            ConfigError: the problem is too ill-conditioned to tell a right port from a wrong one, or a part of the
                model takes no part in it, unless `allow_dead`.
        """
        if not problem.probes:
            problem = replace(problem, probes=edge_probes(problem))
        oracle = OracleCandidate(problem)
        chosen = None
        if not problem.batches:
            chosen = steps_off_kinks(problem, lambda: oracle.oracle, steps=steps, batch_size=batch_size)
        truth = record_trace(oracle, problem, dtype="float64", steps=chosen)
        if not allow_dead:
            check_alive(problem, truth)
        own = own_distances(problem, truth)
        check_well_posed(problem, own)
        return cls(problem, truth, rounding_budget(problem, truth, own=own))

    def check(self, candidate: Candidate, framework: str, *, dtype: str = "float32") -> list[Check]:
        """The levels in order, up to and including the first that fails."""
        try:
            found = record_trace(candidate, self.problem, dtype=dtype)
        except (LookupError, ValueError, TypeError, RuntimeError, ParityError) as error:
            # A candidate that cannot even be run on these arrays disagrees about their shapes.
            return [Check(self.problem.name, framework, LEVELS[0].name, float("inf"), 0.0, False, str(error))]
        return self.verdict(found, framework, dtype=dtype)

    def verdict(self, found: Trace, framework: str, *, dtype: str = "float32") -> list[Check]:
        """The same of a trace recorded before."""
        limits = tolerances(self.budget, dtype=dtype)
        return compare_traces(found, self.truth, tolerance=limits, case=self.problem.name, framework=framework)


def check_well_posed(problem: Problem, budget: Mapping[str, float]) -> None:
    """Refuse a problem on which rounding alone comes near a ceiling: there a right port would be called wrong."""
    for level in LEVELS:
        if level.ceiling and not budget[level.name] <= level.ceiling / WELL_POSED:
            raise ConfigError(
                f"{problem.name}: float32 rounding alone makes {budget[level.name]:.1e} at the level {level.name}, "
                f"allowed: {level.ceiling / WELL_POSED:.1e}; a dead or nearly dead model cannot be judged"
            )


def compare_traces(
    found: Trace,
    truth: Trace,
    *,
    tolerance: Mapping[str, float] | None = None,
    levels: Iterable[str] = LEVEL_NAMES,
    case: str = "",
    framework: str = "",
) -> list[Check]:
    """Compare two traces of one problem level by level, up to and including the first that fails.

    Args:
        tolerance: {level: largest difference}; by default the levels' ceilings.
    """
    limits = {level.name: level.ceiling for level in LEVELS} | dict(tolerance or {})
    wanted = checked_levels(levels)
    measured, checks = distances(check_trace(found), check_trace(truth)), []
    for level in (name for name in LEVEL_NAMES if name in wanted):
        distance = measured[level]
        where = distance.where
        if level == "shapes":
            where = "; ".join(weight_faults(members("weight@0", found), members("weight@0", truth)))
        passed = bool(distance.value <= limits[level])
        checks.append(Check(case, framework, level, distance.value, limits[level], passed, where))
        if not passed:
            break
    return checks


def checked_levels(levels: Iterable[str]) -> tuple[str, ...]:
    """As a tuple; `ConfigError` for none, for a string, or for one that is not there."""
    wanted = () if isinstance(levels, str) or not isinstance(levels, Iterable) else tuple(levels)
    if not wanted:
        raise ConfigError(f"levels: found {levels!r}, allowed: some of {', '.join(LEVEL_NAMES)}")
    for level in wanted:
        check_choice("levels", level, LEVEL_NAMES)
    return wanted


def agree(checks: Sequence[Check]) -> bool:
    """Whether every level that was asked was passed."""
    return bool(checks) and all(check.passed for check in checks)
