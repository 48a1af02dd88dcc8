"""Prover: asks every framework what the reference asks, before anything is timed."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Self

import numpy as np

from benchmarks.ports import frameworks
from benchmarks.ports.epoch_agreement import rows
from benchmarks.ports.process import Worker
from benchmarks.ports.timed_port import Case
from benchmarks.recorder import Recorder
from core_torch.files.splits import Split
from core_torch.parity.matrix import Cell, Judges

AGREEMENT_IMAGES = 2000  # from which the batches are taken


class Prover:
    """The agreement of lean variants. As a context manager it holds one worker for each framework.

    Attributes:
        disagreeing: {(framework, model)} that is not timed.
        evidence: {(framework, cell): ids of the checks passed}.
    """

    def __init__(self, recorder: Recorder, split: Split, *, names: Sequence[str], seed: int) -> None:
        self.recorder, self.names = recorder, names
        self.references = Judges(rows(split.take(np.arange(min(len(split), AGREEMENT_IMAGES)))), seed=seed)
        self.one_image = split.take(np.arange(1))  # a worker is prepared with a split, which no level asks for
        self.stack, self.workers = ExitStack(), dict[str, Worker]()
        self.disagreeing: set[tuple[str, str]] = set()
        self.evidence: dict[tuple[str, Cell], list[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stack.close()

    def prove(self, cell: Cell) -> None:
        """Ask every framework that has not failed at this model before."""
        if not self.workers:
            programs = {_lean(name): frameworks.FRAMEWORKS[name] for name in self.names}
            self.workers = self.recorder.start_all(programs, self.stack)
        for name in self.names:
            if (name, cell.model) in self.disagreeing or name not in (cell.frameworks or self.names):
                continue
            with self.recorder.refusing(f"{cell}, {name}"):
                self.disagreeing.add((name, cell.model))  # unless it passes
                case = Case(framework=name, model=cell.model, device=self.recorder.device)
                self.evidence[name, cell] = self.check(self._worker(name), case, cell, name)
                self.disagreeing.remove((name, cell.model))

    def check(self, worker: Worker, case: Case, cell: Cell, label: str) -> list[str]:
        """Hold a worker against the reference of a cell, and return the ids of the checks.

        Raises:
            WorkerError: it disagrees, or fails.
        """
        reference = self.references.judge(cell)
        worker.prepare(replace(case, dtype=cell.dtype), self.one_image, reference.problem.recipe)
        return self.recorder.require(reference.check(worker, label, dtype=cell.dtype))

    def _worker(self, name: str) -> Worker:
        """Return the framework's worker, started again if it died."""
        label = _lean(name)
        if label not in self.workers or not self.workers[label].is_alive:
            self.workers[label] = self.recorder.start(label, frameworks.FRAMEWORKS[name], self.stack)
        return self.workers[label]


def _lean(framework: str) -> str:
    return f"{framework}/lean"
