"""parity_levels: one named pytest test for each level of a comparison, so that a run shows which of them pass."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from core_torch.parity.candidate import Candidate
from core_torch.parity.recorded.assertion import compare
from core_torch.parity.recorded.diagnosis import explain
from core_torch.parity.recorded.measures import LEVELS
from core_torch.parity.recorded.reference import Reference
from core_torch.spec.errors import ConfigError, ParityError, check_choice

if TYPE_CHECKING:
    import pytest


def parity_levels(
    reference: Reference,
    build: Callable[[], Candidate],
    *,
    dtype: str = "float32",
    expected_failures: Mapping[str, str] | None = None,
) -> "pytest.MarkDecorator":
    """Decorate a test with one argument, `check_level`; it runs once for each level.

    Args:
        reference: what the candidate is held against.
        build: makes the candidate; called once, when the first level runs.
        dtype: float32 or float64.
        expected_failures: {level: the reason}; such a level must fail.

    Raises:
        ConfigError: a level that is not there, or a reason that is empty.

    Example:
        @parity_levels(Reference.load("resnet.safetensors"), MyPort, expected_failures={"buffers": "biased variance"})
        def test_my_port(check_level):
            check_level()
    """
    import pytest

    expected = dict(expected_failures or {})
    for level, reason in expected.items():
        check_choice("expected_failures", level, LEVELS)
        if not reason.strip():
            raise ConfigError(f"expected_failures: found no reason for {level}, allowed: a sentence")

    @cache
    def verdict() -> "dict[str, str]":
        """{level that failed: what to say}, of one comparison for all levels."""
        found = compare(reference, build(), dtype=dtype)
        return {level.level: "\n  ".join(explain(found, at=level)) for level in found.levels if not level.passed}

    def check(level: str) -> Callable[[], None]:
        def check_level() -> None:
            __tracebackhide__ = True
            if level in verdict():
                raise ParityError(verdict()[level])

        return check_level

    marks = {level: [pytest.mark.xfail(reason=reason, strict=True)] for level, reason in expected.items()}
    cases = [pytest.param(check(level), id=level, marks=marks.get(level, [])) for level in LEVELS]
    return pytest.mark.parametrize("check_level", cases)
