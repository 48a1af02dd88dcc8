"""Prove that a place can be written to before the work that it is for; write JSON and CSV."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from core_torch.files.atomic import write_atomically
from core_torch.spec.errors import ConfigError


def check_folder(name: str, path: str) -> None:
    """Raise `ConfigError` unless the folder is there and can be written to, or can be made."""
    folder = Path(path).absolute()
    existing = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    _check_writable(name, path, existing)


def check_file(name: str, path: str) -> None:
    """Raise `ConfigError` unless the file can be written and replaces no device."""
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "folder" if os.path.isdir(path) else "device or pipe"
        raise ConfigError(f"{name}: found the {kind} {path}, allowed: a file")
    _check_writable(name, path, Path(path).absolute().parent)


def _check_writable(name: str, path: str, folder: Path) -> None:
    try:
        if not path:
            raise OSError
        with suppress(FileNotFoundError):
            os.lstat(path)  # refuses a name that no file can have
        TemporaryFile(dir=folder).close()  # not `os.access`, which tells the superuser yes; it leaves no name
    except OSError as error:
        raise ConfigError(f"{name}: {path or 'an empty path'} cannot be written to, see {folder}") from error


def prepare_output(folder: str | Path) -> Path:
    """Create the folder and prove that it can be written to; `ConfigError` if not."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"output: {path} cannot be written to ({error.strerror})") from error
    return path


def write_json(path: str | Path | None, values: object) -> None:
    """Write JSON atomically, with a newline at the end; nothing without a path."""
    if path is not None:
        write_atomically(Path(path), (json.dumps(values, indent=2) + "\n").encode())


def write_csv(path: str | Path, columns: Mapping[str, Sequence[object]], *, first: str = "epoch") -> None:
    """Write a line per value atomically, numbered from 1 in the `first` column; only the heading without values."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([first, *columns])
    writer.writerows((number, *values) for number, values in enumerate(zip(*columns.values()), start=1))
    write_atomically(Path(path), text.getvalue().encode())
