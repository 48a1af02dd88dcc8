"""Lock a folder, so that one process at a time works in it."""

import os
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock


def folder_lock(folder: Path) -> "BaseFileLock":
    """Build the lock of a folder; its file lies in the system's temporary folder, so the folder stays as it is."""
    from filelock import FileLock  # a tenth of a second, which a command without a lock need not wait

    user = os.getuid() if hasattr(os, "getuid") else 0
    name = sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return FileLock(Path(tempfile.gettempdir()) / f"autoencoder-{user}-{name}.lock")
