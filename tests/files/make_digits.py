"""Writes core_torch/files/digits.npz from scikit-learn's bundled copy of the UCI optical digits."""

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def make_digits(path: Path) -> None:
    """images (1797, 8, 8) uint8 in 0..16 and labels (1797,) uint8; the bytes depend on the data and zlib."""
    digits = load_digits()
    arrays = {"images": digits.images.astype(np.uint8), "labels": digits.target.astype(np.uint8)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            buffer = BytesIO()
            np.save(buffer, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    make_digits(Path(__file__).parents[2] / "core_torch" / "files" / "digits.npz")
