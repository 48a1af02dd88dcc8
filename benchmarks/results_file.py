"""results.json: what is in it, how it is written, and a reader that refuses anything else."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.agreement import Check
from benchmarks.timing import Interval, Sample, interval
from core_torch.contract.errors import DataFormatError
from core_torch.contract.weights_file import write_atomically

SCHEMA = 1
TABLES = ("agreement", "measurements", "ratios", "floors", "refused")


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
    except OSError as error:
        raise DataFormatError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataFormatError(f"{path}: is not JSON ({error})") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise DataFormatError(f"{path}: is not a results file of schema {SCHEMA}")
    for table in TABLES:
        rows = content.get(table)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataFormatError(f"{path}: {table} is not a list of rows")
    for row in content["ratios"]:
        _check_ratio(row, path)
    return content


def _check_ratio(row: dict[str, Any], path: Path) -> None:
    texts, numbers = ("case", "contender", "baseline", "clock"), ("median", "low", "high")
    if not all(isinstance(row.get(name), str) for name in texts):
        raise DataFormatError(f"{path}: a ratio lacks one of {', '.join(texts)}")
    values = [row.get(name) for name in numbers]
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 for value in values):
        raise DataFormatError(f"{path}: the ratio of {row['contender']} lacks a positive {', '.join(numbers)}")
