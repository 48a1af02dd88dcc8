"""The page of one comparison, and the same as JSON: a ladder of levels, then the layers in order."""

import math
from os import PathLike
from pathlib import Path
from typing import TypedDict

from core_torch.files.outputs import write_json
from core_torch.files.page import write_page
from core_torch.parity.recorded.diagnosis import explain
from core_torch.parity.recorded.verdict import Entry, LevelVerdict, Verdict

SCALE = (1e-4, 1e4)  # error over limit at both ends of the ladder, which is logarithmic


class EntryRow(TypedDict):
    """One tensor, or one level by its worst tensor."""

    name: str
    value: float | None  # None stands for infinity, which JSON lacks
    limit: float
    passed: bool


def write_verdict(verdict: Verdict, path: str | PathLike[str]) -> None:
    """Write `path` as a page that needs nothing beside it, and the same beside it as JSON.

    Args:
        path: ends with .html; the JSON has the same name with .json.

    Raises:
        CheckpointError: the folder cannot be written to.
    """
    place = Path(path)
    write_json(place.with_suffix(".json"), verdict_to_json(verdict))
    write_page(
        place,
        Path(__file__).with_name("verdict.html"),
        title=f"{verdict.candidate} against {verdict.reference.name}",
        command="core_torch.parity.recorded.page.write_verdict",
        answer="agrees at every level" if verdict.passed else "disagrees",
        passed=verdict.passed,
        lines=explain(verdict)[1:],
        levels=[_bar(_level_row(level)) for level in verdict.levels],
        layers=[_bar(_row(entry, name=entry.key.removeprefix("activation/"))) for entry in _layers(verdict)],
        first=verdict.first_parted_layer or "",
        left_out=sorted(verdict.reference.left_out.items()),
        unseen=verdict.reference.description.get("unseen", []),
    )


def verdict_to_json(verdict: Verdict) -> dict[str, object]:
    """Every level with its tensors, and what the diagnosis says."""
    return {
        "reference": verdict.reference.name,
        "candidate": verdict.candidate,
        "passed": verdict.passed,
        "explanation": explain(verdict),
        "first_parted_layer": verdict.first_parted_layer,
        "levels": [
            {
                "level": level.level,
                "passed": level.passed,
                "problems": level.problems,
                "entries": [_row(entry) for entry in level.entries],
            }
            for level in verdict.levels
        ],
    }


def _layers(verdict: Verdict) -> tuple[Entry, ...]:
    return next((level.entries for level in verdict.levels if level.level == "layers"), ())


def _level_row(level: LevelVerdict) -> EntryRow:
    worst = level.worst
    row = _row(worst, name=level.level) if worst else EntryRow(name=level.level, value=0.0, limit=0.0, passed=True)
    row["passed"] = level.passed
    return row


def _row(entry: Entry, *, name: str | None = None) -> EntryRow:
    value = float(entry.value) if math.isfinite(entry.value) else None
    return EntryRow(name=name or entry.key, value=value, limit=float(entry.limit), passed=entry.passed)


def _bar(row: EntryRow) -> dict[str, object]:
    """Add the length of the bar in percent: half of the scale is exactly the limit."""
    low, high = map(math.log10, SCALE)
    value, limit = row["value"], row["limit"]
    if value is None or (value and not limit):
        length = 100.0
    elif not value:
        length = 0.0
    else:
        length = 100 * (min(max(math.log10(value / limit), low), high) - low) / (high - low)
    return {**row, "length": length}
