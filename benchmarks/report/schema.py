"""Read a JSON file that somebody else may have made, and hold it to a JSON schema."""

import json
from pathlib import Path
from typing import Any, NoReturn

from core_torch.files.safe_reading import read_regular
from core_torch.files.weights import without_duplicates
from core_torch.spec.errors import DataFormatError

LARGEST_BYTES = 1 << 26  # the full suite writes a fiftieth of it
LONGEST_REASON = 200  # characters; a reason quotes what it found


def read_json(path: Path, schema: dict[str, Any]) -> Any:
    """Return what a file holds.

    Raises:
        DataFormatError: it cannot be read, is not JSON, gives a name twice, or differs from `schema`.
    """
    try:
        content = json.loads(
            read_regular(path, largest=LARGEST_BYTES),
            object_pairs_hook=without_duplicates,
            parse_constant=_refuse_constant,
        )
        json.dumps(content, ensure_ascii=False).encode()  # refuses an escape that is half a character
    except OSError as error:
        raise DataFormatError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataFormatError(f"{path}: is not JSON ({error})") from error
    if difference := find_difference(content, schema):
        raise DataFormatError(f"{path}: {difference}")
    return content


def find_difference(content: Any, schema: dict[str, Any]) -> str | None:
    """Say where and how `content` first differs from `schema`, in one line; None if it does not."""
    from jsonschema import Draft202012Validator

    error = next(Draft202012Validator(schema).iter_errors(content), None)
    if error is None:
        return None
    place = error.json_path.removeprefix("$").removeprefix(".") or "the file"
    return f"{place}: {' '.join(error.message.split())[:LONGEST_REASON]}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
