"""assert_parity: hold a port, in any language, against the reference; for use in anybody's tests."""

import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np

from core_torch.parity.candidate import Candidate
from core_torch.parity.diagnosis import explain
from core_torch.parity.external import NO_ACCELERATOR, TIMEOUT_SECONDS, ExternalWorker, WorkerError
from core_torch.parity.golden_traces import first_steps, golden, golden_cell, golden_judges
from core_torch.parity.judge import Check, Judge, checked_levels, compare_traces
from core_torch.parity.known_ports import KNOWN_PORTS
from core_torch.parity.problem import Problem
from core_torch.parity.rounding import rounding_budget
from core_torch.parity.tolerances import LEVEL_NAMES, ROUNDING, tolerances
from core_torch.parity.trace import KEPT_STEPS, Trace, check_trace, record_trace
from core_torch.spec.architecture import Convolutional
from core_torch.spec.errors import ConfigError, ParityError, check_choice, check_integer, check_number
from core_torch.spec.extras import check_installed

Reference = str | Judge | Problem
Port = Candidate | Trace | str | Sequence[str]


def assert_parity(
    reference: Reference,
    candidate: Port,
    *,
    levels: Iterable[str] = LEVEL_NAMES,
    steps: int | None = None,
    dtype: str = "float32",
    tolerance: Mapping[str, float] | Literal["auto"] = "auto",
    weights: Literal["trained", "initial"] = "trained",
    timeout: float | None = None,
) -> list[Check]:
    """Check level by level that `candidate` computes what the reference does; its checks, all passed.

    Args:
        reference: a golden name such as "conv-deep-contractive" (`GOLDEN` has all), a problem, or its judge.
        candidate: an object with the methods of `Candidate`; a trace recorded by `record_trace`; the name of one of
            this repository's frameworks, such as "keras-jax"; or a command, as a list, that follows the protocol of
            `core_torch.parity.external`.
        levels: of `LEVEL_NAMES`; the first that fails ends the comparison.
        steps: all of them by default; fewer, 1 or 10 of a golden trace, are quicker and see less.
        dtype: float32 or float64, in which the candidate is given its arrays and held to account.
        tolerance: from the float32 budget (see `tolerances`); {level: largest difference} overrides some of it.
        weights: of a golden problem, trained ones or those of the contract's start, where outputs show little.
        timeout: seconds that a process may take for one answer; by default 300.

    Raises:
        ParityError: it does not; the message says where, by how much, and which known bug computes the same.
        ConfigError: the arguments do not fit together.
    """
    __tracebackhide__ = True
    wanted = checked_levels(levels)
    check_choice("dtype", dtype, ROUNDING)
    check_choice("weights", weights, ("trained", "initial"))
    if timeout is not None:
        check_number("timeout", timeout, minimum=1e-3)
    if steps is not None:
        check_integer("steps", steps, minimum=1)
    with np.errstate(all="ignore"):  # what overflows is judged, whatever the warnings are set to
        judge = _cut(_judge(reference, weights=weights, levels=wanted), steps)
        limits = tolerances(judge.budget, dtype=dtype) | _checked(tolerance)
        found = _trace(candidate, judge.problem, dtype=dtype, timeout=TIMEOUT_SECONDS if timeout is None else timeout)
        case, name = judge.problem.name, label(candidate)
        checks = compare_traces(found, judge.truth, tolerance=limits, levels=wanted, case=case, framework=name)
        if not checks[-1].passed:
            raise ParityError(_message(judge, found, checks[-1], dtype=dtype))
    return checks


def label(candidate: Port) -> str:
    """What messages call it."""
    if isinstance(candidate, str):
        return candidate
    return shlex.join(map(str, candidate)) if isinstance(candidate, Sequence) else type(candidate).__name__


def _checked(tolerance: Mapping[str, float] | str) -> dict[str, float]:
    if tolerance == "auto":
        return {}
    if not isinstance(tolerance, Mapping) or not tolerance:
        raise ConfigError(f"tolerance: found {tolerance!r}, allowed: auto, or a largest difference for some levels")
    for level, limit in tolerance.items():
        check_choice("tolerance", level, LEVEL_NAMES)
        check_number(f"tolerance of {level}", limit, minimum=0)
    return dict(tolerance)


def _judge(reference: Reference, *, weights: str, levels: tuple[str, ...]) -> Judge:
    if isinstance(reference, Judge):
        return reference
    if isinstance(reference, Problem):
        return Judge.of(reference)
    if weights == "trained":
        return golden(reference)
    judge = golden_judges().judge(golden_cell(reference, weights="initial"))
    if isinstance(judge.problem.architecture, Convolutional) and "gradients" not in levels:
        raise ConfigError("weights: found initial without the level gradients, allowed: trained, on which outputs tell")
    return judge


def _cut(judge: Judge, steps: int | None) -> Judge:
    """The same over fewer steps, of which the truth is kept; their budget is measured."""
    problem = judge.problem
    if steps is None or steps == len(problem.batches):
        return judge
    kept = [step for step in KEPT_STEPS if step < len(problem.batches)]
    if steps not in kept:
        raise ConfigError(f"steps: found {steps}, allowed: {', '.join(map(str, [*kept, len(problem.batches)]))}")
    shorter = problem.first(steps)
    truth = first_steps(judge.truth, steps)
    return Judge(shorter, truth, judge.shorter_budgets.get(steps) or rounding_budget(shorter, truth))


def _trace(candidate: Port, problem: Problem, *, dtype: str, timeout: float) -> Trace:
    __tracebackhide__ = True
    if isinstance(candidate, Mapping):
        return check_trace(candidate)
    if candidate is None or (isinstance(candidate, (str, Sequence)) and not candidate):
        raise ConfigError(f"candidate: found {candidate!r}, allowed: a port, a trace, a framework's name or a command")
    try:
        if isinstance(candidate, (str, Sequence)):
            with open_worker(candidate, problem, dtype=dtype, timeout=timeout) as worker:
                return record_trace(worker, problem, dtype=dtype)
        return record_trace(candidate, problem, dtype=dtype)
    except (ConfigError, ParityError):
        raise
    except WorkerError as error:
        raise ParityError(f"{problem.name}: {error}") from None
    except Exception as error:  # whatever it is, the candidate is not the reference
        raise ParityError(f"{problem.name}: the candidate raised {type(error).__name__}: {error}") from error


@contextmanager
def open_worker(
    candidate: str | Sequence[str], problem: Problem, *, dtype: str = "float32", timeout: float = TIMEOUT_SECONDS
) -> Iterator[ExternalWorker]:
    """A worker prepared for the problem: a port of this repository, or a command in any language."""
    if isinstance(candidate, str):
        check_choice("candidate", candidate, KNOWN_PORTS)
        port = KNOWN_PORTS[candidate]
        check_installed(port.package)
        variables = NO_ACCELERATOR | port.environment
        worker = ExternalWorker(candidate, command=port.command, environment=variables, timeout=timeout)
    else:
        if shutil.which(candidate[0]) is None:
            check_choice("candidate", candidate[0], KNOWN_PORTS)  # raises ConfigError with a spelling suggestion
        worker = ExternalWorker(label(candidate), command=candidate, timeout=timeout)
    with worker:
        worker.prepare(problem, dtype=dtype)
        yield worker


def _message(judge: Judge, found: Trace, check: Check, *, dtype: str) -> str:
    head = f"{check.case}: {check.framework} disagrees at the level {check.level}"
    level = f"{check.where or 'all'}: {check.value:.3g}, allowed {check.tolerance:.3g}"
    return "\n  ".join([head, level, *explain(judge, found, check, dtype=dtype)])
