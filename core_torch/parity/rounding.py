"""Measure what float32 rounding alone does to a problem: the worst of several legitimate orders of summation.

A mean over thousands of pixels that one accumulator adds, as a loop in C, JavaScript or Rust does, is tens of times
less exact than NumPy's pairwise sum; the more terms, the more so. Both are right.
"""

from collections.abc import Iterator

from core_torch.parity.candidate import Candidate
from core_torch.parity.distance import distances
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.parity.problem import Problem
from core_torch.parity.right_ports.arithmetic import Blocked, Sequential
from core_torch.parity.right_ports.port import NumpyPort, Way
from core_torch.parity.trace import Trace, record_trace
from core_torch.spec.architecture import Convolutional

ORDERS = (Sequential, Blocked)  # besides NumPy's own, which is pairwise, and BLAS
LARGE = 10_000  # weights; from there on only the first step is added up in other orders, which costs a minute a step
SAME_SUMS = {"losses": "loss", "trajectory": "gradients"}  # what follows from the first step's sums at the least


def own_distances(problem: Problem, truth: Trace) -> dict[str, float]:
    """Measure {level: distance from the truth} of the oracle's own float32 run."""
    return _distances(OracleCandidate(problem, dtype="float32"), problem, truth)


def rounding_budget(problem: Problem, truth: Trace, *, own: dict[str, float] | None = None) -> dict[str, float]:
    """Measure {level: the largest distance from the truth that a float32 run has}.

    Args:
        own: what `own_distances` found, where it is known.
    """
    budget = own or own_distances(problem, truth)
    is_large = sum(value.size for value in problem.weights.values()) > LARGE
    shorter = problem.first(1) if is_large else problem
    for port in _other_orders(problem, is_large=is_large):
        found = _distances(port, shorter, truth)
        if is_large:
            found |= {later: found[level] for later, level in SAME_SUMS.items()} | {"outputs after training": 0.0}
        budget = {level: max(value, found[level]) for level, value in budget.items()}
    return budget


def _other_orders(problem: Problem, *, is_large: bool) -> Iterator[Candidate]:
    # A Jacobian through convolutions of full size has billions of terms.
    is_too_large = problem.recipe.objective == "contractive" and isinstance(problem.architecture, Convolutional)
    if not (is_large and is_too_large):
        for order in ORDERS:
            yield NumpyPort(problem.architecture, problem.recipe, way=Way(arithmetic=order))


def _distances(port: Candidate, problem: Problem, truth: Trace) -> dict[str, float]:
    return {level: found.value for level, found in distances(record_trace(port, problem), truth).items()}
