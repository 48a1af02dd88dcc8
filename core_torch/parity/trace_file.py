"""Write and read a trace as a sealed .npz file."""

import hashlib
import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from core_torch.files.atomic import write_atomically
from core_torch.files.idx import FREE_EXPANSION_BYTES, LARGEST_EXPANSION
from core_torch.files.safe_reading import open_regular
from core_torch.parity.trace import Trace
from core_torch.spec.errors import DataFormatError

DIGEST = "sha256"  # the entry of a trace file that guards the others
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others inflate in one go, however little is asked for


def save_trace(path: Path, trace: Mapping[str, np.ndarray]) -> None:
    """As .npz, sealed by the sha256 of its arrays."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **{**trace, DIGEST: np.array(_digest(trace))})  # type: ignore[arg-type]
    write_atomically(path, stream.getvalue())


def load_trace(path: Path) -> Trace:
    """A trace written by `save_trace`.

    What it claims to hold is judged before it is unpacked, so a small file cannot make the reader inflate a large one.

    Raises:
        DataFormatError: it cannot be read, holds objects, or is not what was written.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            trace = dict(_unpacked(archive, stored=path.stat().st_size))
    except OSError as error:
        raise DataFormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # zipfile, zlib and NumPy each raise their own
        line = " ".join(str(error).split())
        raise DataFormatError(f"{path}: is not a trace ({type(error).__name__}: {line})") from error
    found = trace.pop(DIGEST, None)
    if found is None or str(found) != _digest(trace):
        raise DataFormatError(f"{path}: is not the trace that was written")
    return trace


def _unpacked(archive: zipfile.ZipFile, *, stored: int) -> Iterator[tuple[str, np.ndarray]]:
    """Name and array of each member; `ValueError` for what NumPy does not write."""
    members = archive.infolist()
    claimed = sum(member.file_size for member in members)
    allowed = max(FREE_EXPANSION_BYTES, stored * LARGEST_EXPANSION)
    if claimed > allowed or sum(member.compress_size for member in members) > stored:
        raise ValueError(f"{stored:,} bytes that claim {claimed:,}, allowed: {allowed:,}")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("a name is given twice")
    for member in members:
        if member.compress_type not in PACKED:
            raise ValueError(f"{member.filename} is packed in another way")
        yield member.filename.removesuffix(".npy"), _array(archive.read(member))


def _array(content: bytes) -> np.ndarray:
    """What NumPy's format 1.0 holds, once its header and its length agree."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of another format than 1.0")
    shape, is_fortran, kind = np.lib.format.read_array_header_1_0(stream)
    start = stream.tell()
    if kind.hasobject or math.prod(shape) * kind.itemsize != len(content) - start:
        raise ValueError(f"{len(content) - start:,} bytes that claim to be {shape} of {kind}")
    return np.ndarray(shape, kind, content, offset=start, order="F" if is_fortran else "C").copy()


def _digest(trace: Mapping[str, np.ndarray]) -> str:
    sha256 = hashlib.sha256()
    for key in sorted(trace):
        array = np.ascontiguousarray(trace[key])
        sha256.update(f"{key} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return sha256.hexdigest()
