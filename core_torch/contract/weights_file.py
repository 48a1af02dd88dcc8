"""Weights on disk: a safetensors file in the reference's names and layout, and a manifest written last.

The manifest carries the sha256 of the weights, so damage is found before a tensor is used, and a folder
without a manifest is a save that never finished. No pickle is read or written.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core_torch.contract.errors import CheckpointError

WEIGHTS_NAME = "weights.safetensors"
MANIFEST_NAME = "manifest.json"
SCHEMA = 1


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step: after a crash the old file or the new one is there, whole."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from error


def save_weights(folder: Path, weights: Mapping[str, np.ndarray], *, about: Mapping[str, object]) -> None:
    """Write weights and manifest into an existing folder; `about` is any JSON: the spec, the recipe.

    Raises:
        CheckpointError: a value is not finite, or the folder cannot be written to.
    """
    from safetensors.numpy import save

    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f"{folder}: {name} holds a value that is not finite, refused to save it")
    # safetensors writes the raw memory of an array that is not contiguous, silently transposed.
    content = save({name: np.ascontiguousarray(array) for name, array in weights.items()})
    manifest = {"schema": SCHEMA, "sha256": hashlib.sha256(content).hexdigest(), **about}
    write_atomically(folder / WEIGHTS_NAME, content)
    write_atomically(folder / MANIFEST_NAME, json.dumps(manifest, indent=2).encode())


def load_weights(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """(weights, manifest) of a folder written by `save_weights`, checked before a tensor is used.

    Raises:
        CheckpointError: a file is missing, malformed, or not the one the manifest was written for.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
        content = (folder / WEIGHTS_NAME).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{error.filename}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / MANIFEST_NAME}: is not JSON ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise CheckpointError(f"{folder / MANIFEST_NAME}: is not a manifest of schema {SCHEMA}")
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.get("sha256"):
        raise CheckpointError(
            f"{folder / WEIGHTS_NAME}: found sha256 {found}, expected {manifest.get('sha256')}"
        )
    try:
        return load(content), manifest
    except SafetensorError as error:
        raise CheckpointError(f"{folder / WEIGHTS_NAME}: is not a safetensors file ({error})") from error


def check_names_and_shapes(
    weights: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]], *, where: str
) -> None:
    """Raise `CheckpointError` unless `weights` has exactly the expected names and shapes, all finite."""
    missing, extra = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    if missing or extra:
        raise CheckpointError(
            f"{where}: missing {sorted(missing) or 'nothing'}, unexpected {sorted(extra) or 'nothing'}"
        )
    for name, shape in expected.items():
        if tuple(weights[name].shape) != shape:
            raise CheckpointError(f"{where}: {name} has shape {tuple(weights[name].shape)}, expected {shape}")
        if not np.isfinite(weights[name]).all():
            raise CheckpointError(f"{where}: {name} holds a value that is not finite")
