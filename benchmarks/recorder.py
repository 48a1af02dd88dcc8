"""Recorder: starts workers, keeps what was checked, and keeps what was refused."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.ports.frameworks import Framework
from benchmarks.ports.process import Worker
from benchmarks.report.results_file import Results
from core_torch.parity.external import WorkerError
from core_torch.parity.judge import Check, agree

Log = Callable[[str], None]


class Recorder:
    """What every stage of a run uses.

    Args:
        results: filled as the run goes on.
        log: takes a line.
    """

    def __init__(self, results: Results, *, device: str, log: Log) -> None:
        self.results, self.device, self.log = results, device, log

    def start(self, label: str, framework: Framework, stack: ExitStack, **options: Any) -> Worker:
        """Start a worker that ends with the stack."""
        self.log(f"starting {label}")
        environment, module = framework.environment, framework.module
        worker = Worker(label, module=module, device=self.device, environment=environment, **options)
        return stack.enter_context(worker)

    def start_all(
        self, programs: dict[str, Framework], stack: ExitStack, *, unpinned: Collection[str] = ()
    ) -> dict[str, Worker]:
        """Start them together, so that they import on all cores; one that cannot be started is refused."""
        workers = {}
        for label, program in programs.items():
            with self.refusing(label):
                workers[label] = self.start(label, program, stack, pinned=label not in unpinned)
        return workers

    def record(self, checks: list[Check]) -> list[str]:
        """Keep checks, and return their ids."""
        outcome = "agrees" if agree(checks) else f"DISAGREES at {checks[-1].level}: {checks[-1].value:.1e}"
        self.log(f"{checks[-1].case}: {checks[-1].framework} {outcome}")
        return self.results.add_checks(checks)

    def require(self, checks: list[Check], *, reason: str = "") -> list[str]:
        """Keep checks, and return their ids; `WorkerError` if one failed."""
        ids = self.record(checks)
        if not agree(checks):
            raise WorkerError(reason or f"disagrees at: {checks[-1].level}")
        return ids

    def refuse(self, case: str, reason: str) -> None:
        """Keep a case that is not timed, and why."""
        self.results.refuse(case, reason)
        self.log(f"refused: {case}: {reason}")

    @contextmanager
    def refusing(self, case: str) -> Iterator[None]:
        """Refuse the case, and go on with the run, if a worker fails inside."""
        try:
            yield
        except WorkerError as error:
            self.refuse(case, str(error))
