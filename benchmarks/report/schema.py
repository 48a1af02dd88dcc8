"""Is a value what a JSON schema says? The part of JSON Schema (draft 2020-12) that our schema uses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core_torch.files.safe_reading import read_regular
from core_torch.files.weights import without_duplicates
from core_torch.spec.errors import DataFormatError

LARGEST = 1 << 26  # bytes of a file; those of the full suite take a fiftieth
ANNOTATIONS = {"$schema", "$defs", "title", "then"}
KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "number": (int, float),
    "null": (type(None),),
}


def read_json(path: Path, schema: dict[str, Any]) -> Any:
    """What a file holds.

    Raises:
        DataFormatError: it cannot be read, is not JSON, gives a name twice, or differs from `schema`.
    """
    try:
        content = json.loads(read_regular(path, largest=LARGEST), object_pairs_hook=without_duplicates)
        json.dumps(content, ensure_ascii=False).encode()  # refuses an escape that is half a character
        fault = next(faults(content, schema), None)
    except OSError as error:
        raise DataFormatError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataFormatError(f"{path}: is not JSON ({error})") from error
    if fault:
        raise DataFormatError(f"{path}: {fault}")
    return content


def faults(value: Any, schema: dict[str, Any], *, root: dict[str, Any] | None = None, place: str = "") -> Iterator[str]:
    """Where and how `value` differs from `schema`, a line each; nothing if it does not."""
    root = root or schema
    for keyword, wanted in schema.items():
        match keyword:
            case "type":
                kinds = [wanted] if isinstance(wanted, str) else wanted
                if not any(_is(value, kind) for kind in kinds):
                    yield f"{place or 'the file'} is not of type {' or '.join(kinds)}"
                    return  # what else is said of it presumes its type
            case "enum":
                if not any(value == allowed and type(value) is type(allowed) for allowed in wanted):
                    yield f"{place} is not one of {', '.join(map(str, wanted))}"
            case "const":
                if value != wanted:
                    yield f"{place} is not {wanted}"
            case "required":
                yield from (f"{place or 'the file'} has no {name}" for name in wanted if name not in value)
            case "properties":
                for name, inner in wanted.items():
                    if name in value:
                        inside = f"{place}.{name}".lstrip(".")
                        yield from faults(value[name], inner, root=root, place=inside)
            case "items":
                for number, item in enumerate(value):
                    yield from faults(item, wanted, root=root, place=f"{place}[{number}]")
            case "minimum":
                if value is not None and not value >= wanted:
                    yield f"{place} is not {wanted} or more"
            case "exclusiveMinimum":
                if value is not None and not value > wanted:
                    yield f"{place} is not a number above {wanted}"
            case "maximum":
                if value is not None and not value <= wanted:
                    yield f"{place} is not {wanted} or less"
            case "$ref":
                yield from faults(value, root["$defs"][wanted.rpartition("/")[2]], root=root, place=place)
            case "if":
                if not any(faults(value, wanted, root=root, place=place)):
                    yield from faults(value, schema["then"], root=root, place=place)
            case _ if keyword not in ANNOTATIONS:
                raise NotImplementedError(f"{keyword} is a keyword that is not understood here")


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))
