"""The published datasets: folder, mirrors, file names, checksums; and how a missing file is fetched."""

import gzip
import os
import shutil
import tempfile
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from core_torch.contract.errors import DataFormatError
from core_torch.contract.idx import check_md5

ROOT_VARIABLE = "MNIST_ROOT"
TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class Source:
    """One dataset of four IDX files. MD5s are those torchvision publishes for the .gz files,
    and for MNIST those of the decompressed files too.
    """

    folder: str
    mirrors: tuple[str, ...]
    archive_md5: dict[str, str]
    raw_md5: dict[str, str]


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
}


def raw_folder(source: Source, root: str | Path | None) -> Path:
    """Where the files of a source lie: under `root`, else $MNIST_ROOT, else ./data."""
    return Path(root or os.environ.get(ROOT_VARIABLE) or "data") / source.folder / "raw"


def locate(folder: Path, name: str) -> Path | None:
    """The plain file of that name, else the .gz beside it, else None."""
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if os.path.exists(path)), None)


def verify(path: Path, source: Source) -> None:
    """Check the MD5 of a file where its published value is known."""
    table = source.archive_md5 if path.suffix == ".gz" else source.raw_md5
    expected = table.get(path.name.removesuffix(".gz"))
    if expected:
        check_md5(path, expected)


def download_missing(source: Source, folder: Path, *, dataset: str) -> None:
    """Fetch each absent file from the first mirror that delivers it intact.

    Raises:
        DataFormatError: a file could be had from no mirror.
    """
    for name in source.archive_md5:
        if locate(folder, name) is not None:
            continue
        reasons = []
        for mirror in source.mirrors:
            try:
                _download(f"{mirror}{name}.gz", folder / name, md5=source.archive_md5[name])
                break
            except (OSError, EOFError, HTTPException, DataFormatError) as error:
                reasons.append(" ".join(str(error).split()))
        else:
            raise DataFormatError(
                f"dataset {dataset}: {folder / name} is not there and cannot be downloaded ({reasons[-1]}); "
                f"give --data-root or set {ROOT_VARIABLE}, or use --dataset digits, which needs no files"
            )


def _download(url: str, path: Path, *, md5: str) -> None:
    """Download and decompress into a temporary folder beside `path`, then move into place in one step."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
            archive, raw = Path(temporary) / "archive.gz", Path(temporary) / "raw"
            with archive.open("wb") as file:
                shutil.copyfileobj(response, file)
            check_md5(archive, md5)
            with gzip.open(archive) as packed, raw.open("wb") as file:
                shutil.copyfileobj(packed, file)
            os.replace(raw, path)
