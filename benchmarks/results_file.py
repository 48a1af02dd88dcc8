"""results.json: what is in it, how it is written, and a reader that refuses anything else."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.parity.judge import Check
from benchmarks.timing import Interval, Sample, interval
from core_torch.contract.errors import DataFormatError
from core_torch.contract.weights_file import write_atomically

SCHEMA = 1
# What a reader may rely on; a float is above 0 and finite.
HEAD = {"created": str, "command": list, "environment": dict, "dataset": str}
ENVIRONMENT = {"cpu": str, "versions": dict}
TABLES: dict[str, dict[str, type]] = {
    "agreement": {"case": str, "framework": str, "check": str, "passed": bool},
    "measurements": {"case": str, "contender": str, "unit": str, "samples": list, "median": float},
    "ratios": {
        "case": str,
        "contender": str,
        "baseline": str,
        "clock": str,
        "median": float,
        "low": float,
        "high": float,
    },
    "floors": {},
    "refused": {"case": str, "reason": str},
}


@dataclass
class Results:
    """A run, as it grows."""

    command: list[str]
    environment: dict[str, object]
    dataset: str
    agreement: list[dict[str, Any]] = field(default_factory=list)
    measurements: list[dict[str, Any]] = field(default_factory=list)
    ratios: list[dict[str, Any]] = field(default_factory=list)
    floors: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)

    def add_checks(self, checks: list[Check]) -> None:
        """Agreement rows."""
        self.agreement += [asdict(check) for check in checks]

    def add_measurement(self, case: str, contender: str, samples: list[Sample], *, clock: str) -> None:
        """Raw samples and their median, in seconds an image by the `cpu` or the `wall` clock."""
        values = [sample.per_image(clock) for sample in samples]
        self.measurements.append(
            {
                "case": case,
                "contender": contender,
                "unit": f"{clock} seconds per image",
                "samples": values,
                **asdict(interval(values)),
                "n": len(values),
            }
        )

    def add_ratio(self, case: str, contender: str, *, baseline: str, ratio: Interval, pairs: int, clock: str) -> None:
        """How many times faster than the baseline."""
        row = {"case": case, "contender": contender, "baseline": baseline, "clock": clock, "pairs": pairs}
        self.ratios.append(row | asdict(ratio))

    def refuse(self, case: str, reason: str) -> None:
        """A case that is not timed, and why."""
        self.refused.append({"case": case, "reason": reason})

    @property
    def passed(self) -> bool:
        """Whether all agree and nothing was refused."""
        return not self.refused and all(row["passed"] for row in self.agreement)

    def write(self, path: Path) -> None:
        """In one step, so that a reader never sees half a file."""
        content = {"schema": SCHEMA, "created": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(self)}
        write_atomically(path, (json.dumps(_finite(content), indent=1) + "\n").encode())


def _finite(value: Any) -> Any:
    """Infinity and NaN, which JSON does not have, as strings."""
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def read_results(path: Path) -> dict[str, Any]:
    """A results file that is whole and of this schema.

    Raises:
        DataFormatError: anything else.
    """
    try:
        content = json.loads(path.read_bytes())
        json.dumps(content, ensure_ascii=False).encode()  # refuses an escape that is half a character
    except OSError as error:
        raise DataFormatError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataFormatError(f"{path}: is not JSON ({error})") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise DataFormatError(f"{path}: is not a results file of schema {SCHEMA}")
    _check_fields(content, HEAD, where=f"{path}: the file")
    _check_fields(content["environment"], ENVIRONMENT, where=f"{path}: environment")
    for table, columns in TABLES.items():
        if not isinstance(content.get(table), list):
            raise DataFormatError(f"{path}: {table} is not a list of rows")
        for number, row in enumerate(content[table]):
            _check_fields(row, columns, where=f"{path}: {table}[{number}]")
    measured = {(row["case"], row["contender"], row["unit"].split(" ")[0]) for row in content["measurements"]}
    for number, row in enumerate(content["ratios"]):
        if (row["case"], row["contender"], row["clock"]) not in measured:
            raise DataFormatError(f"{path}: ratios[{number}] has no measurement")
    return content


def _check_fields(found: object, expected: Mapping[str, type], *, where: str) -> None:
    if not isinstance(found, dict):
        raise DataFormatError(f"{where} is not a table")
    for name, kind in expected.items():
        value = found.get(name)
        if kind is float:
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            # The largest float, because a whole number in JSON may be larger.
            right = is_number and 0 < value <= sys.float_info.max  # type: ignore[operator]
        else:
            right = isinstance(value, kind)
        if not right:
            wanted = "a number above 0" if kind is float else f"a {kind.__name__}"
            raise DataFormatError(f"{where} has no {name} that is {wanted}")
