"""Weights on disk: a safetensors file in the reference's names and layout, and a manifest.

The manifest carries the sha256 of the weights and of its own other entries, so damage is found before a
tensor is used. No pickle is read or written.

A save locks the folder, stages the weights under a name with their sha256, writes the manifest, then moves the
weights into place. Whenever it dies, the manifest that is there finds its own weights: staged, or in place.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core_torch.files.atomic import RANDOM, sweep, write_atomically
from core_torch.files.locks import hold
from core_torch.files.safe_reading import LARGEST_FILE, read_regular
from core_torch.spec.errors import CheckpointError

WEIGHTS_NAME = "weights.safetensors"
MANIFEST_NAME = "manifest.json"
SCHEMA = 1
LARGEST_MANIFEST = 1 << 24  # bytes


def save_weights(folder: Path, weights: Mapping[str, np.ndarray], *, metadata: Mapping[str, object]) -> None:
    """Write weights, as float32, and manifest into an existing folder; `metadata` is any JSON.

    Raises:
        CheckpointError: a value is not finite, another process writes there, or the folder cannot be written to.
    """
    save_arrays(folder, {name: np.asarray(array, np.float32) for name, array in weights.items()}, metadata=metadata)


def save_arrays(folder: Path, arrays: Mapping[str, np.ndarray], *, metadata: Mapping[str, object]) -> None:
    """Write arrays as `save_weights` does, but every array keeps its type."""
    from safetensors.numpy import save

    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f"{folder}: {name} holds a value that is not finite, refused to save it")
    # safetensors writes the raw memory of an array that is not contiguous, silently transposed.
    content = save({name: np.array(array, order="C") for name, array in arrays.items()})
    sha256 = hashlib.sha256(content).hexdigest()
    manifest = {"schema": SCHEMA, "sha256": sha256, **metadata}
    manifest["manifest_sha256"] = _digest(manifest)
    with hold(folder):
        _replace(folder, content, manifest)


def _replace(folder: Path, content: bytes, manifest: Mapping[str, object]) -> None:
    """Write weights and their manifest over those of a folder that nobody else writes to."""
    staged, before = folder / _staged_name(str(manifest["sha256"])), _staged_by(folder / MANIFEST_NAME)
    is_used = staged.exists()  # by the manifest of an earlier save of the same arrays
    write_atomically(staged, content)
    try:
        write_atomically(folder / MANIFEST_NAME, json.dumps(manifest, indent=2).encode())
    except CheckpointError:
        if not is_used:
            staged.unlink(missing_ok=True)
        raise
    path = folder / WEIGHTS_NAME
    try:
        os.replace(staged, path)
        if before is not None:
            (folder / before).unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be replaced ({error.strerror}); {staged} is what was saved") from error
    sweep(folder, _staged_name("*"))
    sweep(folder, f".{_staged_name('*')}-{RANDOM}")


def _staged_by(path: Path) -> str | None:
    """Return the name under which a manifest's weights were staged, if they still may be; None without a manifest."""
    try:
        return _staged_name(str(_read_manifest(path)["sha256"]))
    except (CheckpointError, KeyError):
        return None  # damaged: what it staged is removed once it is old


def load_weights(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Load (weights, manifest) of a folder written by `save_weights`, checked before a tensor is used.

    Raises:
        CheckpointError: a file is missing, malformed, or not the one the manifest was written for.
    """
    weights, manifest = load_arrays(folder)
    for name, array in weights.items():
        if array.dtype != np.float32:
            raise CheckpointError(f"{folder / WEIGHTS_NAME}: {name} is {array.dtype}, expected float32")
    return weights, manifest


def load_arrays(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Load arrays as `load_weights` does, of a folder written by `save_arrays`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    manifest = _read_manifest(folder / MANIFEST_NAME)
    expected = str(manifest.get("sha256"))
    staged, path = folder / _staged_name(expected), folder / WEIGHTS_NAME
    content = _read(staged if staged.exists() else path)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise CheckpointError(f"{path}: found sha256 {found}, expected {expected}")
    try:
        return load(content), manifest
    except (SafetensorError, KeyError) as error:  # KeyError: a type that NumPy does not have
        raise CheckpointError(f"{path}: is not a safetensors file of numbers ({error})") from error


def _read_manifest(path: Path) -> dict[str, object]:
    content = _read(path, largest=LARGEST_MANIFEST)
    try:
        manifest = json.loads(content, object_pairs_hook=without_duplicates)
        json.dumps(manifest, ensure_ascii=False).encode()  # refuses an escape that is half a character
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is not JSON ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise CheckpointError(f"{path}: is not a manifest of schema {SCHEMA}")
    if manifest.get("manifest_sha256") != _digest(manifest):
        raise CheckpointError(f"{path}: its entries are not those it was written with")
    return manifest


def without_duplicates(entries: list[tuple[str, object]]) -> dict[str, object]:
    """Build a JSON object; `ValueError` for a name given twice, because readers disagree about which value holds."""
    found = dict(entries)
    if len(found) < len(entries):
        raise ValueError("a name is given twice")
    return found


def _read(path: Path, *, largest: int = LARGEST_FILE) -> bytes:
    try:
        return read_regular(path, largest=largest)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error


def _digest(manifest: Mapping[str, object]) -> str:
    """Compute the sha256 of every entry but itself."""
    entries = {name: value for name, value in manifest.items() if name != "manifest_sha256"}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def _staged_name(sha256: str) -> str:
    return f".{WEIGHTS_NAME}-{sha256[:16]}"
