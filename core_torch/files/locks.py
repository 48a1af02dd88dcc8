"""Lock a folder, so that one process at a time works in it."""

import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from core_torch.files.safe_reading import read_regular
from core_torch.spec.errors import CheckpointError

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK_NAME = ".lock"  # in a folder that is written to, which every process and machine that writes there sees
TRIES = 100  # to lock a folder that another process keeps removing
LARGEST_NOTE = 1000  # bytes of what a holder says of itself
_owners: dict[Path, tuple[int, int]] = {}  # {folder: (process, thread)} of the locks that are held here


def folder_lock(folder: Path) -> "BaseFileLock":
    """Build the lock of a folder; its file lies in the system's temporary folder, so the folder stays as it is."""
    from filelock import FileLock  # a tenth of a second, which a command without a lock need not wait

    user = os.getuid() if hasattr(os, "getuid") else 0
    name = sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return FileLock(Path(tempfile.gettempdir()) / f"autoencoder-{user}-{name}.lock")


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Be the only writer of a folder, which is made if need be; afterwards a folder still empty is removed again.

    The thread that holds a folder may hold it again. A killed process holds nothing.

    Raises:
        CheckpointError: another process or thread holds the folder, or it cannot be written to.
    """
    key, owner = folder.resolve(), (os.getpid(), threading.get_ident())
    if _owners.get(key) == owner:
        yield
        return
    made = [path for path in (key, *key.parents) if not path.exists()]
    try:
        lock = _acquire(key, name=folder)
        _owners[key] = owner
        try:
            yield
        finally:
            del _owners[key]
            with suppress(OSError):  # a lock file that stays locks nothing
                (key / LOCK_NAME).unlink()  # before the release: a process that waits for it then opens a new one
            lock.release()
    finally:
        with suppress(OSError):  # not empty, or in use by the next
            for path in made:
                path.rmdir()


def _acquire(folder: Path, *, name: Path) -> "BaseFileLock":
    """Take the lock, and write down who holds it; errors call the folder by `name`."""
    from filelock import FileLock, Timeout

    path = folder / LOCK_NAME
    lock = FileLock(path)
    try:
        for last in (*(False,) * TRIES, True):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
                break
            except FileNotFoundError:  # another process has removed the folder, which was empty
                if last:
                    raise
    except Timeout as error:
        message = f"{name}: is being written to by {_holder(path)}, allowed: one writer at a time"
        raise CheckpointError(message) from error
    except OSError as error:
        raise CheckpointError(f"{name}: cannot be written to ({error.strerror})") from error
    note = {"pid": os.getpid(), "host": socket.gethostname(), "since": int(time.time())}
    with suppress(OSError):  # on a full disk the holder stays unnamed
        path.write_text(json.dumps(note))
    return lock


def _holder(path: Path) -> str:
    """Describe who holds a lock, from the numbers in its file alone: anybody may have written the rest."""
    try:
        note = json.loads(read_regular(path, largest=LARGEST_NOTE))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(note["since"])))
        elsewhere = "" if note["host"] == socket.gethostname() else " of another machine"
        return f"process {int(note['pid'])}{elsewhere} since {since}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return "another process"
