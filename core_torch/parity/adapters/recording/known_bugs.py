"""What every bug that a model can have would answer, and which bugs its batches cannot show."""

from dataclasses import replace

from core_torch.parity.adapters.recording.bugs import BUGS
from core_torch.parity.adapters.recording.setup import Build, Setup
from core_torch.parity.recorded.fingerprints import Fingerprint
from core_torch.parity.recorded.measures import norm
from core_torch.parity.recorded.parts import split_parts
from core_torch.parity.recorded.questions import Trace
from core_torch.parity.recorded.reference import Reference
from core_torch.parity.recorded.verdict import judge


def with_known_bugs(reference: Reference, setup: Setup) -> Reference:
    """Add the fingerprint of every bug that differs from the truth by more than rounding.

    The others are listed in the description under "unseen": on these batches nothing can tell them from a right port.
    """
    fingerprints, unseen = [], []
    for bug in BUGS:
        for label, build in bug(setup):
            answers = _answers(reference, build)
            if answers is None or not _differs(answers[0], reference.truth):
                continue
            exact, rounded = answers
            if judge(reference, exact, candidate=label).passed:
                unseen.append(label)
            else:
                fingerprints.append(Fingerprint.of(label, exact, reference.truth, rounded=rounded))
    description = reference.description | {"unseen": unseen}
    return replace(reference, fingerprints=tuple(fingerprints), description=description)


def _answers(reference: Reference, build: Build) -> tuple[Trace, Trace] | None:
    """The bug's answers in float64 and in float32; none where the bug cannot be made in this model."""
    questions, parts = reference.questions, reference.parts
    try:
        exact, rounded = (
            split_parts(questions.ask(build(dtype), dtype=dtype), parts) for dtype in ("float64", "float32")
        )
    except (RuntimeError, ValueError, LookupError, TypeError):
        return None
    return exact, rounded


def _differs(answers: Trace, truth: Trace) -> bool:
    return any(answers[key].shape == truth[key].shape and norm(answers[key] - truth[key]) for key in truth)
