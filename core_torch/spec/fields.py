"""Fields of a recipe or an architecture: each with a default, a line of help, and the values that are allowed.

The checks, the options of `train`, and their help are generated from them.
"""

from collections.abc import Callable, Collection
from dataclasses import field, fields
from functools import partial
from typing import Any, TypeVar

from core_torch.spec.errors import check_boolean, check_choice, check_integer, check_number

Value = TypeVar("Value", str, float, int, bool)


def choice(default: str, help: str, *, allowed: Collection[str]) -> str:
    """Declare a field that takes one of some names."""
    return _declare(default, f"{help}: {', '.join(allowed)}", partial(check_choice, allowed=allowed))


def number(default: float, help: str, *, minimum: float, maximum: float = float("inf")) -> float:
    """Declare a field that takes a finite number in [minimum, maximum]."""
    allowed = f">= {minimum:g}" if maximum == float("inf") else f"{minimum:g} to {maximum:g}"
    return _declare(default, f"{help}; {allowed}", partial(check_number, minimum=minimum, maximum=maximum))


def integer(default: int, help: str, *, minimum: int, maximum: int) -> int:
    """Declare a field that takes an integer in [minimum, maximum]."""
    allowed = f"{minimum} to {maximum}"
    return _declare(default, f"{help}; {allowed}", partial(check_integer, minimum=minimum, maximum=maximum))


def switch(default: bool, help: str) -> bool:
    """Declare a field that is on or off."""
    return _declare(default, help, check_boolean)


def check_fields(instance: Any) -> None:
    """Raise `ConfigError` for the first declared field whose value is not allowed."""
    for each in fields(instance):
        if "check" in each.metadata:
            each.metadata["check"](each.name, getattr(instance, each.name))


def _declare(default: Value, help: str, check: Callable[..., None]) -> Value:
    return field(default=default, metadata={"help": help, "check": check})
