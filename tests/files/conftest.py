"""What the contract's tests share: IDX bytes, small datasets on disk, and the real MNIST where it is."""

import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core_torch.files import sources

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def encode_idx(values: np.ndarray, *, type_code: int = 0x08, byte_order: str = ">") -> bytes:
    """The IDX file of `values`, written from the format's description and not by way of the reader."""
    header = struct.pack(f"4B{values.ndim}I", 0, 0, type_code, values.ndim, *values.shape)
    dimensions = struct.pack(f"{byte_order}{values.ndim}I", *values.shape)
    return header[:4] + dimensions + values.tobytes()


@pytest.fixture(scope="session")
def idx_bytes() -> Callable[..., bytes]:
    return encode_idx


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """(7, 28, 28) uint8 without pattern, so that a shifted or transposed reading shows."""
    return np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    return np.array([3, 1, 4, 1, 5, 9, 2], dtype=np.uint8)


@pytest.fixture(scope="session")
def small_files(images: np.ndarray, labels: np.ndarray) -> dict[str, bytes]:
    """{file name: content} of a whole dataset: 7 training images, and 4 for testing."""
    arrays = (images, labels, images[:4], labels[:4])
    return {name: encode_idx(array) for name, array in zip(NAMES, arrays)}


@pytest.fixture
def small_mnist(small_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> sources.Source:
    """`mnist` now means the small files, its checksums included; it has no mirror."""
    source = sources.Source(
        "MNIST",
        (),
        {name: hashlib.md5(gzip.compress(content, mtime=0)).hexdigest() for name, content in small_files.items()},
        {name: hashlib.md5(content).hexdigest() for name, content in small_files.items()},
    )
    monkeypatch.setitem(sources.SOURCES, "mnist", source)
    return source


@pytest.fixture
def fill() -> Callable[[Path, dict[str, bytes]], Path]:
    """Writes files into root/MNIST/raw and returns that folder."""

    def write(root: Path, files: dict[str, bytes]) -> Path:
        folder = root / "MNIST" / "raw"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder

    return write
