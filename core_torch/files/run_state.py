"""Say whether a stored state belongs to the run that wants to go on from it."""

import json
from collections.abc import Mapping
from pathlib import Path

from core_torch.spec.errors import CheckpointError


def as_stored(identity: Mapping[str, object]) -> dict[str, object]:
    """Return what identifies a run as JSON gives it back: tuples are lists there."""
    return dict(json.loads(json.dumps(identity)))


def check_same_run(folder: Path, found: object, identity: Mapping[str, object]) -> None:
    """Raise `CheckpointError` for the first entry of `identity` that differs from the one stored in `folder`.

    Args:
        found: what identifies the stored run.
        identity: what identifies this run, from `as_stored`.
    """
    for name, expected in identity.items():
        stored = found.get(name) if isinstance(found, dict) else None
        if stored != expected:
            raise CheckpointError(f"{folder}: is of another run, {_difference(name, stored, expected)}")


def _difference(name: str, found: object, expected: object) -> str:
    """Describe where two values differ; of two tables the first entry that does."""
    if isinstance(found, dict) and isinstance(expected, dict):
        found, expected = (dict.fromkeys({**expected, **found}, "nothing") | table for table in (found, expected))
        key = next(key for key in expected if found[key] != expected[key])
        return _difference(f"{name}.{key}", found[key], expected[key])
    return f"{name}: found {found}, expected {expected}"
