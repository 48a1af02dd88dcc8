"""A strict reader of IDX files, the format of MNIST and its siblings, plain or gzip-compressed.

An IDX file is two zero bytes, a type code, the number of dimensions, each dimension as a big-endian
uint32, then the values in C order. Anything else is a `DataFormatError` that says what was found.
"""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from core_torch.files.safe_reading import open_regular
from core_torch.spec.errors import DataFormatError

UNSIGNED_BYTE = 0x08
INT32 = 0x0C
VALUE_TYPES: dict[int, np.dtype] = {UNSIGNED_BYTE: np.dtype("u1"), INT32: np.dtype(">i4")}

LARGEST_COUNT = 1_000_000  # items; the largest sibling, EMNIST byclass, has 697,932
LARGEST_EXPANSION = 100  # bytes out per byte in; MNIST's images are at 4.9
FREE_EXPANSION_BYTES = 1 << 20  # below this size no expansion is a danger


def read_idx(path: Path, *, item_shape: tuple[int, ...], type_code: int = UNSIGNED_BYTE) -> np.ndarray:
    """Read the array (count, *item_shape) stored at `path`; a name ending in .gz is decompressed.

    The header is judged before the body is read, so a small file cannot make the reader inflate a large one.

    Raises:
        DataFormatError: the file is missing or unreadable, or its magic number, type code, dimensions
            or exact length are not those of an IDX file of such items.
    """
    try:
        with _open(path) as file:
            shape = _read_header(file, path, item_shape=item_shape, type_code=type_code)
            size = math.prod(shape) * VALUE_TYPES[type_code].itemsize
            body = _read_body(file, path, size=size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataFormatError(f"{path}: cannot be read ({str(error) or type(error).__name__})") from error
    if len(body) != size:
        found = "more" if len(body) > size else f"{len(body):,}"
        raise DataFormatError(f"{path}: found {found} bytes after the header, expected {size:,} for {shape}")
    return np.frombuffer(body, VALUE_TYPES[type_code]).reshape(shape)


def map_idx(path: Path, *, item_shape: tuple[int, ...]) -> np.memmap:
    """Map a plain file of bytes, as `read_idx` reads it; each page is read when it is first used.

    The file must not change meanwhile; writing to the array does not change it.

    Raises:
        DataFormatError: as `read_idx`.
    """
    try:
        with open_regular(path) as file:
            shape = _read_header(file, path, item_shape=item_shape, type_code=UNSIGNED_BYTE)
            start, size = file.tell(), math.prod(shape)
        found = path.stat().st_size - start
        if found != size:
            raise DataFormatError(f"{path}: found {found:,} bytes after the header, expected {size:,} for {shape}")
        return np.memmap(path, VALUE_TYPES[UNSIGNED_BYTE], mode="c", offset=start, shape=shape)
    except OSError as error:
        raise DataFormatError(f"{path}: cannot be read ({error.strerror})") from error


def check_md5(path: Path, expected: str) -> None:
    """Raise `DataFormatError` unless the file's MD5 (an identity, not a defence) is `expected`."""
    try:
        with open_regular(path) as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataFormatError(f"{path}: cannot be read ({error.strerror})") from error
    if found != expected:
        raise DataFormatError(f"{path}: found MD5 {found}, expected {expected}: not the published file")


@contextmanager
def _open(path: Path) -> Iterator[BufferedIOBase]:
    with open_regular(path) as file:
        if path.suffix != ".gz":
            yield file
            return
        with gzip.open(file) as unpacked:
            yield unpacked


def _read_header(file: BufferedIOBase, path: Path, *, item_shape: tuple[int, ...], type_code: int) -> tuple[int, ...]:
    dimensions = 1 + len(item_shape)
    header = file.read(4 + 4 * dimensions)
    expected = bytes([0, 0, type_code, dimensions])
    if header[:4] != expected:
        found = header[:4].hex(" ") or "an empty file"
        raise DataFormatError(f"{path}: found magic number {found}, expected {expected.hex(' ')}")
    if len(header) < 4 + 4 * dimensions:
        raise DataFormatError(f"{path}: found {len(header)} bytes of header, expected {4 + 4 * dimensions}")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if shape[1:] != item_shape:
        raise DataFormatError(f"{path}: found items of shape {shape[1:]}, expected {item_shape}")
    if not 1 <= shape[0] <= LARGEST_COUNT:
        raise DataFormatError(f"{path}: found a count of {shape[0]:,}, expected 1 to {LARGEST_COUNT:,}")
    return shape


def _read_body(file: BufferedIOBase, path: Path, *, size: int) -> bytes:
    """Read the `size` bytes of values, and one more if there is one; a false claim takes no memory."""
    stored = path.stat().st_size
    if path.suffix != ".gz":
        return file.read(min(size, stored) + 1)
    if size > max(FREE_EXPANSION_BYTES, stored * LARGEST_EXPANSION):
        raise DataFormatError(
            f"{path}: found {stored:,} compressed bytes that claim {size:,}, expected at most {LARGEST_EXPANSION} to 1"
        )
    return file.read(size + 1)
