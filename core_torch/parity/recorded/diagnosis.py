"""Diagnosis: which known bugs answer every question as a rejected candidate did."""

from core_torch.parity.recorded.measures import group_of
from core_torch.parity.recorded.verdict import LevelVerdict, Verdict


def fitting_bugs(verdict: Verdict) -> list[str]:
    """Name the bugs that reproduce every answer of the candidate, within the candidate's own limits."""
    reference = verdict.reference
    keys = [
        key
        for key in reference.truth
        if key in verdict.answers and group_of(key).kind != "weight" and group_of(key).key not in reference.left_out
    ]
    return [
        fingerprint.name
        for fingerprint in reference.fingerprints
        if fingerprint.fits(verdict.answers, verdict.limits, reference.truth, keys=keys)
    ]


def explain(verdict: Verdict, *, at: LevelVerdict | None = None) -> list[str]:
    """Say in a few lines where a rejected candidate parts from the reference, and why if that is known.

    Args:
        at: the level to speak of; the first that failed by default.
    """
    failed = at or verdict.first_failed
    if failed is None:
        return []
    lines = [f"{verdict.reference.name}: {verdict.candidate} disagrees at the level {failed.level}", *failed.problems]
    if failed.worst and not failed.worst.passed:
        lines.append(f"{failed.worst.key}: found {failed.worst.value:.3g}, allowed {failed.worst.limit:.3g}")
    layer = verdict.first_parted_layer
    if layer and failed.level != "layers":
        lines.append(f"first layer that parts: {layer}")
    bugs = fitting_bugs(verdict)
    if len(bugs) == 1:
        lines.append(f"every answer is that of this bug: {bugs[0]}")
    elif bugs:
        lines.append(f"every answer is that of one of these bugs: {'; '.join(bugs)}")
    else:
        lines.append("no known bug answers as this candidate does")
    return lines
