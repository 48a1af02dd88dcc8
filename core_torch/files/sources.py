"""The published datasets: folders, mirrors, file names, checksums; and what is wrong with a file."""

import os
from dataclasses import dataclass
from pathlib import Path

from core_torch.files.idx import INT32, UNSIGNED_BYTE, check_md5, read_idx
from core_torch.spec.architecture import IMAGE_SIDE
from core_torch.spec.errors import DataFormatError

ROOT_VARIABLE = "MNIST_ROOT"


@dataclass(frozen=True)
class Source:
    """One dataset of IDX files. MD5s are those torchvision publishes for the .gz files,
    and for MNIST those of the decompressed files too.
    """

    folder: str
    mirrors: tuple[str, ...]
    archive_md5: dict[str, str]  # of each file's .gz; "" where it comes in a bundle
    raw_md5: dict[str, str]
    bundle: tuple[str, str] | None = None  # name and MD5 of a zip that holds every .gz, in a folder gzip
    largest_download: int = 1 << 26  # bytes; six times what the largest .gz takes


# {split: number of classes}; letters are numbered from 1
EMNIST_SPLITS = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 27, "digits": 10, "mnist": 10}
SOURCES = {
    "mnist": Source(
        "MNIST",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        {
            "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        {
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
    ),
    "fashion-mnist": Source(
        "FashionMNIST",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        {
            "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        {},
    ),
    "kmnist": Source(
        "KMNIST",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        {
            "train-images-idx3-ubyte": "bdb82020997e1d708af4cf47b453dcf7",
            "train-labels-idx1-ubyte": "e144d726b3acfaa3e44228e80efcd344",
            "t10k-images-idx3-ubyte": "5c965bf0a639b31b8f53240b1b52f4d7",
            "t10k-labels-idx1-ubyte": "7320c461ea6c1c855c0b718fb2a4b134",
        },
        {},
    ),
    "qmnist": Source(
        "QMNIST",
        ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
        {
            "qmnist-train-images-idx3-ubyte": "ed72d4157d28c017586c42bc6afe6370",
            "qmnist-train-labels-idx2-int": "0058f8dd561b90ffdd0f734c6a30e5e4",
            "qmnist-test-images-idx3-ubyte": "1394631089c404de565df7b7aeaf9412",
            "qmnist-test-labels-idx2-int": "5b5b05890a5e13444e108efe57b788aa",
        },
        {},
    ),
    "emnist": Source(
        "EMNIST",
        ("https://biometrics.nist.gov/cs_links/EMNIST/",),
        {
            f"emnist-{split}-{part}-{kind}-ubyte": ""
            for split in EMNIST_SPLITS
            for part in ("train", "test")
            for kind in ("images-idx3", "labels-idx1")
        },
        {},
        ("gzip.zip", "58c8d27c78d21e728a6bc7b3cc06412e"),
        largest_download=1 << 30,  # bytes; the zip takes half of it
    ),
}
QMNIST_COLUMNS = 8  # of its labels: the class, the writer, ...


def raw_folder(source: Source, root: str | Path | None) -> Path:
    """Return where the files of a source lie: under `root`, else $MNIST_ROOT, else ./data."""
    return Path(root or os.environ.get(ROOT_VARIABLE) or "data") / source.folder / "raw"


def locate(folder: Path, name: str) -> Path | None:
    """Find the plain file of that name, else the .gz beside it, else None."""
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if os.path.exists(path)), None)


def verify(path: Path, source: Source) -> None:
    """Check the MD5 of a file where its published value is known."""
    table = source.archive_md5 if path.suffix == ".gz" else source.raw_md5
    expected = table.get(path.name.removesuffix(".gz"))
    if expected:
        check_md5(path, expected)


def validation_error(path: Path, source: Source) -> str | None:
    """Say what is wrong with a file, by its MD5 if that is known, and by its header and length; None if nothing is."""
    kinds = {
        "images": ((IMAGE_SIDE, IMAGE_SIDE), UNSIGNED_BYTE),
        "labels-idx1": ((), UNSIGNED_BYTE),
        "labels-idx2": ((QMNIST_COLUMNS,), INT32),
    }
    shape, type_code = next(kind for name, kind in kinds.items() if name in path.name)
    try:
        verify(path, source)
        read_idx(path, item_shape=shape, type_code=type_code)
    except DataFormatError as error:
        return str(error)
    return None


def validation_errors(source: Source, folder: Path) -> dict[str, str | None]:
    """Return {file name: what is wrong with it, or None} for all files of a source."""
    found = {name: locate(folder, name) for name in source.archive_md5}
    return {
        name: validation_error(path, source) if path else f"{folder / name}: is not there"
        for name, path in found.items()
    }
