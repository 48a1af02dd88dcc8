"""Results: what a run finds, as it goes into results.json."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.ports.sample import CLOCKS, Sample
from benchmarks.timing.evidence import Evidence
from benchmarks.timing.intervals import Interval, interval, speed_ratio
from benchmarks.timing.quality import QUALITY
from benchmarks.timing.session import Timings, TimingSession
from core_torch.files.atomic import write_atomically
from core_torch.parity.judge import Check

SCHEMA = 2


def row_id(row: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of everything but the id in a row of the agreement table."""
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
        """Take what `read_results` returns."""
        known = cls.__dataclass_fields__
        return cls(**{name: value for name, value in content.items() if name in known})

    def add_checks(self, checks: list[Check]) -> list[str]:
        """Add rows to the agreement table, and return their ids."""
        rows = [_finite(check.to_row()) for check in checks]
        self.agreement += [row | {"id": row_id(row)} for row in rows]
        return [row_id(row) for row in rows]

    def add_measurement(
        self, case: str, contender: str, samples: list[Sample], *, clock: str, evidence: Evidence
    ) -> None:
        """Add raw samples and their median, in seconds an image by the `cpu` or the `wall` clock."""
        row = {"case": case, "contender": contender} | _samples(samples, clock=clock)
        self.measurements.append(row | asdict(evidence))

    def add_ratio(self, case: str, contender: str, *, baseline: str, ratio: Interval, pairs: int, clock: str) -> None:
        """Add how many times faster than the baseline a contender is."""
        row = {"case": case, "contender": contender, "baseline": baseline, "clock": clock, "pairs": pairs}
        self.ratios.append(row | asdict(ratio))

    def add_times(
        self, case: str, samples: Mapping[str, list[Sample]], evidence: Mapping[str, Evidence], *, baseline: str
    ) -> None:
        """Add measurements and ratios, by both clocks, of the contenders whose evidence is given."""
        for clock in CLOCKS:
            for name, proof in evidence.items():
                own, ratio = samples[name], speed_ratio(samples[baseline], samples[name], clock=clock)
                self.add_measurement(case, name, own, clock=clock, evidence=proof)
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
        """Add what the hardware needs at least, and how many times that each contender takes.

        Args:
            operations: multiplications and additions an image; 0 where they are not what is counted.
        """
        row = {"case": case, "floor": floor} | _samples(samples, clock=clock)
        rate = operations / row["median"] / 1e9 if operations else None
        table = [{"contender": contender} | asdict(ratio) for contender, ratio in times.items()]
        self.floors.append(row | {"gigaflops": rate, "times": table})

    def add_session(self, session: TimingSession, timings: Timings, *, operations: float = 0.0) -> None:
        """Add everything that a session found; the case is refused where its baseline no longer passes."""
        if timings.was_disturbed:
            self.environment["busy"] = True
        self.add_checks(timings.failed)
        if session.baseline in timings.dishonest:
            self.refuse(session.name, timings.dishonest[session.baseline])
            return
        for label, reason in timings.dishonest.items():
            self.refuse(f"{session.name}, {label}", reason)
        honest = {label: each for label, each in session.contenders.items() if label not in timings.dishonest}
        evidence = {label: contender.evidence for label, contender in honest.items()}
        self.add_times(session.name, timings.samples, evidence, baseline=session.baseline)
        for clock in CLOCKS:
            for floor in session.floors:
                own = timings.samples[floor]
                held = [label for label, contender in honest.items() if floor in contender.floors]
                times = {label: speed_ratio(timings.samples[label], own, clock=clock) for label in held}
                self.add_floor(session.name, floor, own, clock=clock, times=times, operations=operations)
        self.profiles += timings.profiles

    def refuse(self, case: str, reason: str) -> None:
        """Add a case that is not timed, and why."""
        self.refused.append({"case": case, "reason": reason})

    @property
    def clock(self) -> str:
        """Return the clock to judge by: `cpu`, or `wall` where an accelerator works beside the processor."""
        return "wall" if str(self.environment.get("device", "cpu")).startswith("cuda") else "cpu"

    @property
    def passed(self) -> bool:
        """Whether all agree and nothing was refused; an error to reach is a goal, and may be missed."""
        return not self.refused and all(row["passed"] or row["case"].startswith(QUALITY) for row in self.agreement)

    def write(self, path: Path) -> None:
        """Write the file in one step, so that a reader never sees half of it."""
        content = {"schema": SCHEMA, "created": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(self)}
        write_atomically(path, (json.dumps(_finite(content), indent=1) + "\n").encode())


def _samples(samples: list[Sample], *, clock: str) -> dict[str, Any]:
    values = [sample.per_image(clock) for sample in samples]
    return {"unit": f"{clock} seconds per image", "samples": values, **asdict(interval(values)), "n": len(values)}


def _finite(value: Any) -> Any:
    """Replace infinity and NaN, which JSON does not have, by strings."""
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
