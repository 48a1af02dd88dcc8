"""AtomicCheckpointIO: checkpoints that are whole or absent, verified when read, and errors that are raised."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from core_torch.files.atomic import write_atomically
from core_torch.files.safe_reading import read_regular
from core_torch.spec.errors import CheckpointError

DIGEST_LENGTH = 64  # characters of a sha256, which is the comment of the zip file that a checkpoint is
END, END_LENGTH = b"PK\5\6", 22  # what a zip file without a comment ends with
MOST_VALUES = 250_000  # in a checkpoint's tables and lists; a tensor is one
IMPORTED = {"_instantiator", "_class_path", "class_path"}  # Lightning takes these for something to import and call


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and replaces it in one step; a digest in the file tells damage from a checkpoint.

    Lightning's own stages in the temporary folder, which tears files where that lies on another device, and
    passes over a `PermissionError` in silence (pytorch-lightning issues 21253 and 21800).
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write to a local path; `CheckpointError` where that fails."""
        path, buffer = local(path), io.BytesIO()
        check_finite(checkpoint, path)
        torch.save(checkpoint, buffer)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from error
        write_atomically(path, add_digest(buffer.getvalue()))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a verified local file, never pickled code, whatever `weights_only` says."""
        checkpoint: dict[str, Any] = read_file(path, map_location=map_location)
        return checkpoint


class VerifiedLoading:
    """Gives a module or a datamodule, whose first base it is, a `load_from_checkpoint` that reads no code."""

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *arguments: Any, **options: Any) -> Self:
        """Lightning's, of a verified local file and without pickled code; `CheckpointError` otherwise."""
        read_checkpoint(checkpoint_path)
        options["weights_only"] = True
        model: Self = super().load_from_checkpoint(checkpoint_path, *arguments, **options)  # type: ignore[misc]
        return model


def read_checkpoint(path: str | Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """A Lightning checkpoint; without a digest too, for Lightning's own writer leaves none.

    Raises:
        CheckpointError: the file is absent, is no Lightning checkpoint, is not what was written, or is a URL.
    """
    checkpoint: dict[str, Any] = read_file(path, map_location=map_location)
    missing = {"state_dict", "pytorch-lightning_version"} - set(checkpoint if isinstance(checkpoint, dict) else ())
    if missing:
        raise CheckpointError(f"{path}: is not a Lightning checkpoint, it holds no {max(missing)}")
    check_finite(checkpoint, path)
    return checkpoint


def check_finite(checkpoint: dict[str, Any], path: str | Path) -> None:
    """`CheckpointError` for a weight that is not finite, which a checkpoint neither keeps nor gives."""
    for name, weight in checkpoint.get("state_dict", {}).items():
        if not torch.as_tensor(weight).isfinite().all():
            raise CheckpointError(f"{path}: {name} holds a value that is not finite")


def read_file(path: str | Path, *, map_location: Any = "cpu") -> Any:
    """What `torch.save` wrote, verified; `CheckpointError` as of `read_checkpoint`, and where it names code."""
    path = local(path)
    try:
        content = read_regular(path)
        check_digest(content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("it is compressed, which torch.save never does")
        checkpoint = torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
        named = IMPORTED.intersection(_names(checkpoint))
    except Exception as error:  # a damaged file makes torch raise nearly anything
        reason = str(error).split("\n")[0].split(". ")[0]
        raise CheckpointError(f"{path}: cannot be read as a checkpoint ({reason})") from error
    if named:
        raise CheckpointError(f"{path}: holds {min(named)}, which names code to import, allowed: plain values")
    return checkpoint


def _names(content: Any) -> Iterator[Any]:
    """The keys of every table in it, however deep; `ValueError` for more values than `MOST_VALUES`."""
    waiting, count = [content], 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value
            value = value.values()
        elif not isinstance(value, list | tuple):
            continue
        count += len(value)  # of one that is in it many times, each time
        if count > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES:,} values")
        waiting += value


def local(path: str | Path) -> Path:
    """The path; `CheckpointError` for a URL, from which no checkpoint is loaded."""
    if "://" in str(path):
        raise CheckpointError(f"{path}: is a URL, allowed: a local file")
    return Path(path)


def add_digest(content: bytes) -> bytes:
    """Give a zip file the sha256 of all before it as its comment."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"0" * DIGEST_LENGTH
    body = buffer.getvalue()[:-DIGEST_LENGTH]
    return body + _digest(body)


def check_digest(content: bytes) -> None:
    """`ValueError` where the digest is of other bytes. Lightning's own writer leaves none, which passes."""
    if content[-END_LENGTH:].startswith(END):
        return
    body, found = content[:-DIGEST_LENGTH], content[-DIGEST_LENGTH:]
    earlier = body[:-2] + b"\0\0"  # an older digest: of the file before it had a comment
    if found not in (_digest(body), _digest(earlier)):
        raise ValueError("its sha256 is not the one it ends with: damaged, truncated, or no checkpoint")


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
