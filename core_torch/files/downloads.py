"""Fetch the missing files of a dataset: one process at a time, each file whole and checked, or not at all."""

import gzip
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core_torch.files.atomic import ORPHAN_SECONDS
from core_torch.files.fetch import fetch
from core_torch.files.idx import check_md5
from core_torch.files.locks import folder_lock
from core_torch.files.sources import ROOT_VARIABLE, Source, locate, validation_errors
from core_torch.spec.errors import ConfigError, DataFormatError

UNFINISHED = ".download-"  # how the name of a temporary folder begins
UNPACKING_ERRORS = (EOFError, KeyError, zlib.error, zipfile.BadZipFile)  # of an archive that is not as expected


def download_missing(source: Source, folder: Path, *, dataset: str) -> None:
    """Fetch each absent file from the first mirror that delivers it intact.

    Raises:
        DataFormatError: no mirror delivers a file.
    """
    if any(locate(folder, name) is None for name in source.archive_md5):
        with lock(folder):
            absent = [name for name in source.archive_md5 if locate(folder, name) is None]
            download(source, folder, absent, dataset=dataset)


def repair(source: Source, folder: Path, *, dataset: str) -> dict[str, str | None]:
    """Fetch each absent or damaged file, and return what was wrong with it, as `validation_errors` does.

    Raises:
        DataFormatError: no mirror delivers a file; the damaged one stays.
    """
    with lock(folder):
        before = validation_errors(source, folder)
        download(source, folder, [name for name, reason in before.items() if reason], dataset=dataset)
    return before


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Let one process at a time fetch into the folder, so that two do not fetch the same file."""
    held = folder_lock(folder)
    with suppress(OSError):  # without a lock work may be done twice, but not wrong: files are replaced whole
        held.acquire()
    try:
        yield
    finally:
        held.release()


def download(source: Source, folder: Path, names: list[str], *, dataset: str) -> None:
    """Fetch the named files, from the first mirror that delivers each intact."""
    with suppress(OSError):  # a folder that cannot be read cannot be written either, which the download reports
        _remove_orphans(folder)
    archives = {f"{name}.gz": ([name], source.archive_md5[name]) for name in names}
    if source.bundle and names:
        archives = {source.bundle[0]: (names, source.bundle[1])}
    for archive, (inside, md5) in archives.items():
        reasons = []
        for mirror in source.mirrors:
            try:
                _fetch_and_unpack(f"{mirror}{archive}", folder, inside, md5=md5, largest=source.largest_download)
                break
            except (*UNPACKING_ERRORS, OSError, ConfigError, DataFormatError) as error:
                reasons.append(" ".join(str(error).split()))
        else:
            state = "is damaged" if locate(folder, inside[0]) else "is not there"
            raise DataFormatError(
                f"dataset {dataset}: {folder / inside[0]} {state} and cannot be downloaded ({reasons[-1]}); "
                f"give --data-root or set {ROOT_VARIABLE}, or use --dataset digits, which needs no files"
            )


def _remove_orphans(folder: Path) -> None:
    """Remove what killed processes left while they downloaded."""
    for orphan in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError):
            latest = max(path.stat().st_mtime for path in (orphan, *orphan.iterdir()))
            if time.time() - latest > ORPHAN_SECONDS:
                shutil.rmtree(orphan)


def _fetch_and_unpack(url: str, folder: Path, names: list[str], *, md5: str, largest: int) -> None:
    """Fetch, check and decompress in a temporary folder inside `folder`, then move each file into place."""
    with fetch(url, largest=largest) as parts:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as temporary:
            archive, raw = Path(temporary) / "archive", Path(temporary) / "raw"
            with archive.open("wb") as file:
                file.writelines(parts)
            check_md5(archive, md5)
            for name in names:
                with _open_member(archive, name, is_zip=url.endswith(".zip")) as packed, raw.open("wb") as file:
                    shutil.copyfileobj(packed, file)
                os.replace(raw, folder / name)


@contextmanager
def _open_member(archive: Path, name: str, *, is_zip: bool) -> Iterator[gzip.GzipFile]:
    """Open the decompressed content of a .gz file, or of one inside a zip."""
    if not is_zip:
        with gzip.open(archive) as packed:
            yield packed
        return
    with zipfile.ZipFile(archive) as bundle, bundle.open(f"gzip/{name}.gz") as member, gzip.open(member) as packed:
        yield packed
