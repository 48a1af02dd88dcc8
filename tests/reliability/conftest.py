"""Everything here runs small by default and long under `-m stress`, whose table says what was tried and what failed."""

import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROW = "row of the table"


@dataclass(frozen=True)
class Tally:
    """Rows of the table: what was tried, how often, how often it failed, and the same of who does otherwise.

    They travel with the test's report, from whichever process ran it.
    """

    item: pytest.Item

    def add(self, what: str, *, tried: int, failed: int, baseline: str = "") -> None:
        self.item.user_properties.append((ROW, [what, tried, failed, baseline]))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    return Tally(request.node)


def pytest_terminal_summary(terminalreporter) -> None:
    reports = [*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())]
    told = [report.user_properties for report in reports if getattr(report, "when", "") == "call"]
    rows = sorted(row for properties in told for name, row in properties if name == ROW)
    if not rows:
        return
    terminalreporter.section("reliability: what was tried")
    terminalreporter.line(f"{'':58} {'tried':>8} {'failed':>7}  others, in the same run")
    for what, tried, failed, baseline in rows:
        terminalreporter.line(f"{what:58} {tried:8,} {failed:7,}  {baseline}")


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """A folder on the file system of temporary files, and one in memory, which is another."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield {"tmp": tmp_path}
        return
    with tempfile.TemporaryDirectory(dir=memory) as other:
        yield {"tmp": tmp_path, "shm": Path(other)}


@pytest.fixture(autouse=True)
def interrupts_are_heard() -> Iterator[None]:
    """Also where the tests run in a shell's background job, which ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
