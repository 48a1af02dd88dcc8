"""Write a file whole or not at all."""

import glob
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from core_torch.spec.errors import CheckpointError

ORPHAN_SECONDS = 60  # after which nobody is at work any more on a file that is written in one go
RANDOM = "[0-9a-f]" * 16  # how the name of a temporary file ends, as a pattern


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step: after a crash the old file or the new one is there, whole.

    What earlier processes left that were killed meanwhile is removed.

    Raises:
        CheckpointError: the folder cannot be written to, or is full; the old file stays.
    """
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        try:
            with temporary.open("xb") as file:  # unlike tempfile's, readable as the user's umask says
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from error
    sweep(path.parent, glob.escape(f".{path.name}-") + RANDOM)


def sweep(folder: Path, pattern: str) -> None:
    """Remove temporary files of that name, but for those that another process may be about to move into place."""
    for orphan in folder.glob(pattern):
        with suppress(OSError):
            if time.time() - orphan.stat().st_mtime > ORPHAN_SECONDS:
                orphan.unlink()
