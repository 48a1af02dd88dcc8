"""Hold your port against a golden trace in your own tests, through pytest.

    @pytest.mark.parity("conv-deep-contractive", levels=("shapes", "outputs", "loss", "gradients"))
    def test_my_port(parity):
        parity(MyPort())

pytest loads this file in every run beside which the package is installed. It imports nothing but pytest and the
standard library until a fixture is used, so that a conftest still decides about threads.
"""

import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from core_torch.parity import Check, Judge

RECORDS = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The --parity options, which outrank no marker: a test that names its own steps or dtype keeps them."""
    group = parser.getgroup("parity", "agreement with the reference autoencoders")
    group.addoption("--parity-dtype", choices=("float32", "float64"), default="float32", help="of every candidate")
    group.addoption(
        "--parity-steps", type=int, choices=(1, 10, 100), default=None, help="of every golden trace (default all)"
    )
    group.addoption("--parity-report", metavar="DIR", help="write a JSON record of every comparison there")
    required = "comma-separated names that must have passed at least once, so that a run of skips is not green"
    group.addoption("--parity-require", metavar="NAMES", default="", help=required)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "parity(name, **options): the golden trace and options of `parity`")
    config.stash[RECORDS] = []
    folder, required = config.getoption("parity_report"), config.getoption("parity_require")
    if (folder or required) and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--parity-report and --parity-require need a run in one process, without -n")
    if folder:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise pytest.UsageError(f"--parity-report: {folder}: {error.strerror}") from error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Run the test; one that bears the marker and compares nothing fails, or a forgotten call would be green."""
    compared = len(item.config.stash[RECORDS])
    yield
    if item.get_closest_marker("parity") and len(item.config.stash[RECORDS]) == compared:
        pytest.fail("marked with parity, but nothing was compared: ask for the fixture `parity`, and call it")


@pytest.fixture
def parity_reference() -> "Callable[[str], Judge]":
    """`parity_reference(name)`: the problem, golden trace and budget of that name."""
    from core_torch.parity import golden

    return golden


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> "Callable[..., list[Check]]":
    """`parity(candidate, name=..., **options)`: `assert_parity` against the marker's golden trace, recorded.

    A framework of this repository that is not installed skips the test.
    """
    from core_torch.parity import assert_parity
    from core_torch.parity.known_ports import KNOWN_PORTS

    marker = request.node.get_closest_marker("parity")
    config = request.config
    defaults = {"dtype": config.getoption("parity_dtype"), "steps": config.getoption("parity_steps")}

    def check(candidate: Any, reference: Any = None, *, name: str | None = None, **options: Any) -> "list[Check]":
        __tracebackhide__ = True
        if reference is None and (marker is None or not marker.args):
            raise pytest.UsageError('parity needs @pytest.mark.parity("NAME") or a reference')
        port = KNOWN_PORTS.get(candidate) if isinstance(candidate, str) else None
        if port and not port.is_installed:
            pytest.skip(f"{candidate} needs the package {port.package}, which is not installed")
        chosen = defaults | (marker.kwargs if marker else {}) | options
        label = name or (candidate if isinstance(candidate, str) else type(candidate).__name__)
        record = {"test": request.node.nodeid, "candidate": label, "passed": False, **chosen}
        record["steps"] = chosen["steps"] or "all"
        config.stash[RECORDS].append(record)
        checks = assert_parity(reference if reference is not None else marker.args[0], candidate, **chosen)
        record |= {"passed": True, "checks": [check.to_row() for check in checks]}
        return checks

    return check


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the records; turn a run red in which a required candidate never passed."""
    config = session.config
    if folder := config.getoption("parity_report"):
        (Path(folder) / "parity.json").write_text(json.dumps(config.stash[RECORDS], indent=1, default=str) + "\n")
    if missing(config) and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name what was required and did not pass."""
    for name in missing(config):
        terminalreporter.write_line(f"parity: {name} was required and never passed", red=True)


def missing(config: pytest.Config) -> list[str]:
    """Of the required names, those without a passed record."""
    passed = {record["candidate"] for record in config.stash[RECORDS] if record["passed"]}
    required = [name.strip() for name in config.getoption("parity_require").split(",")]
    return [name for name in required if name and name not in passed]
