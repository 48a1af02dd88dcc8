"""AtomicCheckpointIO: checkpoints that are whole or absent, and errors that are raised."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from core_torch.contract.errors import CheckpointError
from core_torch.contract.weights_file import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and replaces it in one step.

    Lightning's own stages in the temporary folder, which tears files where that lies on another device, and
    passes over a `PermissionError` in silence (pytorch-lightning issues 21253 and 21800).
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write to a local path; `CheckpointError` where that fails."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from error
        write_atomically(Path(path), buffer.getvalue())


def check_readable(path: str | Path) -> None:
    """Raise `CheckpointError` unless `path` holds a Lightning checkpoint that loads without pickled code."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise nearly anything
        reason = str(error).split("\n")[0].split(". ")[0]
        raise CheckpointError(f"{path}: cannot be read as a checkpoint ({reason})") from error
    missing = {"state_dict", "pytorch-lightning_version"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise CheckpointError(f"{path}: is not a Lightning checkpoint, it holds no {max(missing)}")
