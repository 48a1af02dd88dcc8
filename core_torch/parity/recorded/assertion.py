"""Hold a candidate against a recorded reference, and raise where it disagrees."""

from collections.abc import Iterable, Mapping

import numpy as np

from core_torch.parity.candidate import Candidate
from core_torch.parity.recorded.diagnosis import explain
from core_torch.parity.recorded.measures import LEVELS
from core_torch.parity.recorded.reference import Reference
from core_torch.parity.recorded.verdict import Verdict, judge
from core_torch.parity.tolerances import ROUNDING
from core_torch.spec.errors import ParityError, check_choice


def compare(
    reference: Reference,
    candidate: Candidate | Mapping[str, np.ndarray],
    *,
    dtype: str = "float32",
    levels: Iterable[str] = LEVELS,
    name: str | None = None,
) -> Verdict:
    """Ask a candidate every question and judge the answers; raises nothing for a wrong answer.

    Args:
        reference: what `record` returned or `Reference.load` read.
        candidate: an object with the methods of `Candidate`, or the trace of its answers.
        dtype: float32 or float64, in which the candidate is given its arrays and held to account.
        levels: some of `LEVELS`.
        name: of the candidate in messages; by default its class's.

    Raises:
        ConfigError: a level or a dtype that is not there.
        ParityError: the candidate raised, or an answer is not an array.
    """
    check_choice("dtype", dtype, ROUNDING)
    wanted = (levels,) if isinstance(levels, str) else tuple(levels)
    for level in wanted:
        check_choice("levels", level, LEVELS)
    label = name or type(candidate).__name__
    answers = candidate if isinstance(candidate, Mapping) else _ask(reference, candidate, dtype=dtype, label=label)
    with np.errstate(all="ignore"):  # what overflows is judged as a wrong answer
        return judge(reference, answers, candidate=label, dtype=dtype, levels=wanted)


def _ask(reference: Reference, candidate: Candidate, *, dtype: str, label: str) -> Mapping[str, np.ndarray]:
    try:
        with np.errstate(all="ignore"):
            return reference.questions.ask(candidate, dtype=dtype)
    except ParityError as error:
        raise ParityError(f"{reference.name}: {label}: {error}") from error
    except Exception as error:  # whatever it is, the candidate is not the reference
        raise ParityError(f"{reference.name}: {label} raised {type(error).__name__}: {error}") from error


def assert_agreement(
    reference: Reference,
    candidate: Candidate | Mapping[str, np.ndarray],
    *,
    dtype: str = "float32",
    levels: Iterable[str] = LEVELS,
    name: str | None = None,
) -> Verdict:
    """Do as `compare`, and raise where the candidate disagrees.

    Raises:
        ParityError: it disagrees; the message names the level, the tensor, the first layer that parts and the bug.
    """
    __tracebackhide__ = True
    verdict = compare(reference, candidate, dtype=dtype, levels=levels, name=name)
    if not verdict.passed:
        raise ParityError("\n  ".join(explain(verdict)))
    return verdict
