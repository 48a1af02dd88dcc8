"""Lock a folder, so that one process at a time works in it."""

import os
import tempfile
from hashlib import sha256
from pathlib import Path

from filelock import BaseFileLock, FileLock


def folder_lock(folder: Path) -> BaseFileLock:
    """Build the lock of a folder; its file lies in the system's temporary folder, so the folder stays as it is."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    name = sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return FileLock(Path(tempfile.gettempdir()) / f"autoencoder-{user}-{name}.lock")
