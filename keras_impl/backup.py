"""The state of a run at the end of an epoch, in one file, from which training goes on bit for bit.

What `keras.callbacks.BackupAndRestore` is for, which loses the optimizer's noise and writes HDF5 in place.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from core_torch.contract.errors import CheckpointError
from core_torch.contract.weights_file import check_names_and_shapes, write_atomically

BACKUP_NAME = "backup.safetensors"

Arrays = dict[str, np.ndarray]
History = dict[str, list[float]]


class Backup:
    """Of one run: every variable of a compiled model and its optimizer, the best weights so far, the history.

    Args:
        folder: created if need be; for one run at a time.
        about: {name: plain value}, what must be the same for a run to go on.

    Raises:
        CheckpointError: the folder cannot be created.
    """

    def __init__(self, folder: Path, model: keras.Model, *, about: Mapping[str, object]) -> None:
        self.path, self.about = folder / BACKUP_NAME, json.loads(json.dumps(about))
        groups = {"model": model.variables, "optimizer": model.optimizer.variables}
        self.variables = {
            f"{group}/{index}": variable
            for group, variables in groups.items()
            for index, variable in enumerate(variables)
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for orphan in folder.glob(f".{BACKUP_NAME}-*"):  # of a write that was killed
                orphan.unlink()
        except OSError as error:
            raise CheckpointError(f"{folder}: cannot be written to ({error.strerror})") from error

    def save(self, history: History, best_weights: list[np.ndarray] | None = None) -> None:
        """Replace the backup in one step: once this returns, the epoch is not lost whatever happens."""
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in self.variables.items()}
        arrays |= {f"best/{index}": array for index, array in enumerate(best_weights or ())}
        arrays = {name: np.array(array, order="C") for name, array in arrays.items()}
        text = json.dumps({"about": self.about, "history": history})
        write_atomically(self.path, save(arrays, {"run": text, "sha256": _digest(arrays, text)}))

    def restore(self) -> tuple[History, list[np.ndarray] | None] | None:
        """Set every variable; (history, best weights), or None without a backup.

        Raises:
            CheckpointError: the file is damaged, or of another run.
        """
        if not self.path.exists():
            return None
        arrays, run = _read(self.path)
        for name, value in self.about.items():
            if run["about"].get(name) != value:
                found = run["about"].get(name)
                raise CheckpointError(f"{self.path}: found a run with {name} {found!r}, expected {value!r}")
        best = {name: arrays.pop(name) for name in sorted(arrays, key=_place) if name.startswith("best/")}
        shapes = {name: tuple(variable.shape) for name, variable in self.variables.items()}
        check_names_and_shapes(arrays, shapes, where=str(self.path))
        for name, variable in self.variables.items():
            variable.assign(arrays[name])
        return run["history"], list(best.values()) or None


def _read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    try:
        with safe_open(path, "numpy") as file:
            names, metadata = file.keys(), file.metadata()
            arrays = {name: file.get_tensor(name) for name in names}
        if metadata["sha256"] != _digest(arrays, metadata["run"]):
            raise CheckpointError(f"{path}: its content is not what it was written with")
        run = json.loads(metadata["run"])
        if not isinstance(run["about"], dict):
            raise TypeError("about is no table")
        return arrays, run
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: is not a backup ({error})") from error


def _digest(arrays: Arrays, text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _place(name: str) -> int:
    return int(name.rpartition("/")[2])


def fingerprint(model: keras.Model) -> str:
    """sha256 of what the layers of the encoder and the decoder are, but for their names."""
    layers = [layer for part in ("encoder", "decoder") for layer in model.get_layer(part).layers]
    plain = [{name: value for name, value in layer.get_config().items() if name != "name"} for layer in layers]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()
