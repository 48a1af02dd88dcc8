"""results.json: what is in it, how it is written, and a reader that refuses anything else.

What a reader may rely on is in results.schema.json. Beyond that, no time without a proof: a measurement names
the passed checks of its contender, and a digest of what it computed.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report.schema import read_json
from benchmarks.timing.intervals import Interval, Sample, interval, speed_ratio
from core_torch.files.atomic import write_atomically
from core_torch.parity.judge import Check
from core_torch.spec.errors import DataFormatError

SCHEMA = 2  # 1, which had no proofs beside its measurements, is still read
SCHEMA_FILE = Path(__file__).with_name("results.schema.json")
CLOCKS = ("cpu", "wall")
QUALITY = "time to quality"  # what cases begin with that hold a training to an error
ROUNDING = 1e-9  # relative, of a ratio that is computed again


@dataclass(frozen=True)
class Work:
    """What a contender did before it was timed: ids of the checks it passed, and a digest of what it computed."""

    agreement: list[str]
    digest: str


def digest_of(arrays: Iterable[np.ndarray]) -> str:
    """Of the bytes of arrays, one after another: 16 hexadecimal digits of their SHA-256."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def row_id(row: Mapping[str, Any]) -> str:
    """Of a row of the agreement table: 16 hexadecimal digits of the SHA-256 of everything else in it."""
    content = json.dumps({name: value for name, value in row.items() if name != "id"}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass
class Results:
    """A run, as it grows."""

    command: list[str]
    environment: dict[str, Any]
    dataset: str
    agreement: list[dict[str, Any]] = field(default_factory=list)
    measurements: list[dict[str, Any]] = field(default_factory=list)
    ratios: list[dict[str, Any]] = field(default_factory=list)
    floors: list[dict[str, Any]] = field(default_factory=list)
    profiles: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> "Results":
        """Of what `read_results` returns."""
        known = cls.__dataclass_fields__
        return cls(**{name: value for name, value in content.items() if name in known})

    def add_checks(self, checks: list[Check]) -> list[str]:
        """Agreement rows; their ids."""
        rows = [_finite(check.to_row()) for check in checks]
        self.agreement += [row | {"id": row_id(row)} for row in rows]
        return [row_id(row) for row in rows]

    def add_measurement(self, case: str, contender: str, samples: list[Sample], *, clock: str, work: Work) -> None:
        """Raw samples and their median, in seconds an image by the `cpu` or the `wall` clock."""
        row = {"case": case, "contender": contender} | _samples(samples, clock=clock)
        self.measurements.append(row | asdict(work))

    def add_ratio(self, case: str, contender: str, *, baseline: str, ratio: Interval, pairs: int, clock: str) -> None:
        """How many times faster than the baseline."""
        row = {"case": case, "contender": contender, "baseline": baseline, "clock": clock, "pairs": pairs}
        self.ratios.append(row | asdict(ratio))

    def add_times(
        self, case: str, samples: Mapping[str, list[Sample]], works: Mapping[str, Work], *, baseline: str
    ) -> None:
        """Measurements and ratios, by both clocks, of the contenders whose work is given."""
        for clock in CLOCKS:
            for name, work in works.items():
                own, ratio = samples[name], speed_ratio(samples[baseline], samples[name], clock=clock)
                self.add_measurement(case, name, own, clock=clock, work=work)
                self.add_ratio(case, name, baseline=baseline, ratio=ratio, pairs=len(own), clock=clock)

    def add_floor(
        self,
        case: str,
        floor: str,
        samples: list[Sample],
        *,
        clock: str,
        times: Mapping[str, Interval],
        operations: float = 0.0,
    ) -> None:
        """What the hardware needs at least, and how many times that each contender takes.

        Args:
            operations: multiplications and additions an image; 0 where they are not what is counted.
        """
        row = {"case": case, "floor": floor} | _samples(samples, clock=clock)
        rate = operations / row["median"] / 1e9 if operations else None
        table = [{"contender": contender} | asdict(ratio) for contender, ratio in times.items()]
        self.floors.append(row | {"gigaflops": rate, "times": table})

    def refuse(self, case: str, reason: str) -> None:
        """A case that is not timed, and why."""
        self.refused.append({"case": case, "reason": reason})

    @property
    def clock(self) -> str:
        """The one to judge by: processor time, but wall time where an accelerator works beside the processor."""
        return "wall" if str(self.environment.get("device", "cpu")).startswith("cuda") else "cpu"

    @property
    def passed(self) -> bool:
        """Whether all agree and nothing was refused; an error that was to be reached is a goal."""
        return not self.refused and all(row["passed"] or row["case"].startswith(QUALITY) for row in self.agreement)

    def write(self, path: Path) -> None:
        """In one step, so that a reader never sees half a file."""
        content = {"schema": SCHEMA, "created": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(self)}
        write_atomically(path, (json.dumps(_finite(content), indent=1) + "\n").encode())


def _samples(samples: list[Sample], *, clock: str) -> dict[str, Any]:
    values = [sample.per_image(clock) for sample in samples]
    return {"unit": f"{clock} seconds per image", "samples": values, **asdict(interval(values)), "n": len(values)}


def _finite(value: Any) -> Any:
    """Infinity and NaN, which JSON does not have, as strings."""
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA_FILE.read_bytes())
    return schema


def read_results(path: Path) -> dict[str, Any]:
    """A results file that is whole, of this schema, and proves what it timed.

    Raises:
        DataFormatError: anything else.
    """
    content: dict[str, Any] = read_json(path, _schema())
    if fault := next(_unfounded(content), None):
        raise DataFormatError(f"{path}: {fault}")
    return content


def _gives(over: list[float], under: list[float], row: Mapping[str, Any]) -> bool:
    """Whether a row's median and interval are those of one list of samples over the other, pair by pair."""
    if not over or len(over) != len(under):
        return False
    found = asdict(interval([above / below for above, below in zip(over, under)]))
    return all(math.isclose(row[name], value, rel_tol=ROUNDING) for name, value in found.items())


def _is_number(value: Any) -> bool:
    """Infinity and NaN are told as strings."""
    try:
        return isinstance(float(value), float)
    except (TypeError, ValueError, OverflowError):
        return False


def _unfounded(content: dict[str, Any]) -> Iterator[str]:
    """What the samples do not give; times without a passed check of that contender in that case."""
    for number, row in enumerate(content["agreement"]):
        if not all(_is_number(row.get(name)) for name in ("value", "tolerance")):
            yield f"agreement[{number}] has a value or a tolerance that is not a number"
    for number, row in enumerate(content["measurements"]):
        if len(row["samples"]) != row["n"]:
            yield f"measurements[{number}] has {len(row['samples'])} samples, and says {row['n']}"
        elif not _gives(row["samples"], [1.0] * len(row["samples"]), row):
            yield f"measurements[{number}] is not what its samples give"
    keys = [(row["case"], row["contender"], row["baseline"], row["clock"]) for row in content["ratios"]]
    if len(keys) > len(set(keys)):
        yield "ratios has one of them twice"
    samples = {
        (row["case"], row["contender"], row["unit"].split(" ")[0]): row["samples"] for row in content["measurements"]
    }
    for number, row in enumerate(content["ratios"]):
        own, others = (samples.get((row["case"], row[name], row["clock"]), []) for name in ("contender", "baseline"))
        if not own or not others:
            yield f"ratios[{number}] has no measurement"
        elif not _gives(others, own, row):
            yield f"ratios[{number}] is not what its samples give"
    for number, row in enumerate(content["floors"]):
        if not row["samples"] or not math.isclose(np.median(row["samples"]), row["median"], rel_tol=ROUNDING):
            yield f"floors[{number}] is not what its samples give"
        for place, times in enumerate(row["times"]):
            own = samples.get((row["case"], times["contender"], row["unit"].split(" ")[0]), [])
            if not _gives(own, row["samples"], times):
                yield f"floors[{number}].times[{place}] is not what its samples give"
    if content["schema"] == 1:
        return
    passed = {row["id"]: row for row in content["agreement"] if row["passed"] and row["id"] == row_id(row)}
    for number, row in enumerate(content["measurements"]):
        own = {(proof["case"], proof["framework"]) for name in row["agreement"] if (proof := passed.get(name))}
        if not set(row["agreement"]) <= passed.keys() or (row["case"], row["contender"]) not in own:
            yield f"measurements[{number}] has no passed check of its contender"
