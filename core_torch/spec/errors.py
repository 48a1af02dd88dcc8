"""The errors a user can cause. Each carries one line: the thing, what was found, what is allowed."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches


class UserError(Exception):
    """Base of every error that a command answers with one line and exit code 2."""


class ConfigError(UserError, ValueError):
    """An argument, option or recipe value lies outside its allowed range."""


class DataFormatError(UserError, ValueError):
    """A data file is missing, truncated, of another format, or not the file it claims to be."""


class CheckpointError(UserError, ValueError):
    """A checkpoint is missing, damaged, or belongs to another model."""


class DivergenceError(UserError, ArithmeticError):
    """Training produced a value that is not finite."""


class ParityError(UserError, AssertionError):
    """Two implementations that should compute the same thing do not."""


def check_choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Raise `ConfigError` unless `value` is one of `allowed`; suggest the nearest spelling."""
    if isinstance(value, str) and value in allowed:
        return
    close = get_close_matches(str(value), allowed, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise ConfigError(f"{name}: found {value!r}{hint}, allowed: {', '.join(allowed)}")


def check_boolean(name: str, value: object) -> None:
    """Raise `ConfigError` unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: found {value!r}, allowed: True or False")


def check_integer(name: str, value: object, *, minimum: int, maximum: int | None = None) -> None:
    """Raise `ConfigError` unless `value` is an int (not a bool) in [minimum, maximum]."""
    allowed = f">= {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    largest = float("inf") if maximum is None else maximum
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= largest:
        raise ConfigError(f"{name}: found {value!r}, allowed: an integer {allowed}")


def check_number(
    name: str, value: object, *, minimum: float, maximum: float = float("inf"), above: bool = False
) -> None:
    """Raise `ConfigError` unless `value` is finite and in [minimum, maximum]; `above` bars the minimum."""
    lower = f"> {minimum:g}" if above else f">= {minimum:g}"
    allowed = lower if maximum == float("inf") else f"{lower} and <= {maximum:g}"
    inside = False
    if isinstance(value, int | float) and not isinstance(value, bool):  # NaN fails every comparison
        inside = minimum <= value <= maximum and value != float("inf") and not (above and value == minimum)
    if not inside:
        raise ConfigError(f"{name}: found {value!r}, allowed: a finite number {allowed}")


def check_widths(name: str, values: object, *, least: int) -> None:
    """Raise `ConfigError` unless `values` is a sequence of at least `least` positive integers."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ConfigError(f"{name}: found {values!r}, allowed: {least} or more positive integers")
    listed = list(values)
    if len(listed) < least:
        raise ConfigError(f"{name}: found {len(listed)} values {listed}, allowed: {least} or more")
    for position, value in enumerate(listed):
        check_integer(f"{name}[{position}]", value, minimum=1)
