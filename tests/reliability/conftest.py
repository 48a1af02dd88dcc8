"""Everything here runs small by default and long under `-m stress`, whose table says what was tried and what failed."""

import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Tally:
    """Rows of the table: what was tried, how often, how often it failed, and the same of who does otherwise."""

    rows: list[tuple[str, int, int, str]] = field(default_factory=list)

    def add(self, what: str, *, tried: int, failed: int, baseline: str = "") -> None:
        self.rows.append((what, tried, failed, baseline))


TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLY] = Tally()


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    return pytestconfig.stash[TALLY]


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    rows = config.stash[TALLY].rows
    if not rows or "not stress" in config.option.markexpr:
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
