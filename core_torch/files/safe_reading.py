"""Read untrusted files: regular files only, with a size limit."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

LARGEST_FILE = 1 << 32  # bytes; a state of the largest model here, with its optimizer's, takes a hundredth


def open_regular(path: str | Path) -> BufferedReader:
    """Open a file for reading bytes.

    Raises `OSError` for pipes and devices too, because reading them may block forever.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # to open a folder is an `OSError` of its own
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return open(path, "rb")


def read_regular(path: str | Path, *, largest: int = LARGEST_FILE) -> bytes:
    """Read the content; `OSError` as of `open_regular`, and for more than `largest` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise OSError(errno.EFBIG, f"found {size:,} bytes, allowed: {largest:,}", str(path))
        return file.read()
