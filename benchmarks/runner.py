"""Runs a suite: prove, then time. A refusal is recorded and never ends the run."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import cases, loading
from benchmarks.epoch_agreement import EpochJudge, rows
from benchmarks.parity.judge import Check, agree
from benchmarks.parity.matrix import Cell, Judges
from benchmarks.parity.tolerances import SAME_IMAGES
from benchmarks.process import Worker, WorkerError
from benchmarks.results_file import Results
from benchmarks.suites import LOADING_SIZE, TRAINING_SIZE, Suite
from benchmarks.timing import Sample, in_turns, speed_ratio, warm_up
from benchmarks.trial import Case
from core_torch.contract.pixels import Split

JUDGED_IMAGES = 2000  # from which agreement's batches are taken

Say = Callable[[str], None]
Save = Callable[[], None]


class Runner:
    """One run over one dataset.

    Args:
        results: filled as the run goes on.
        split: the images. Agreement uses them as they are; timing repeats them to MNIST's size.
        frameworks: names in `cases.FRAMEWORKS`.
        save: called after every stage, so that an interrupted run leaves what it found.
    """

    def __init__(
        self, results: Results, split: Split, *, frameworks: list[str], device: str, seed: int, say: Say, save: Save
    ) -> None:
        self.results, self.split, self.frameworks, self.device = results, split, frameworks, device
        self.recipe = replace(cases.RECIPE, seed=seed)
        self.say, self.save = say, save
        self.workers = ExitStack()
        self.lean: dict[str, Worker] = {}
        self.judges = Judges(rows(split.take(np.arange(min(len(split), JUDGED_IMAGES)))), seed=seed)
        self.disagreeing: set[tuple[str, str]] = set()  # (framework, model): not timed

    def run(self, suite: Suite) -> None:
        """Agreement first; nothing that disagrees is timed."""
        if suite.training and cases.BASELINE[0] not in self.frameworks:
            # What every ratio is taken to is proved as well.
            self.frameworks = [cases.BASELINE[0], *self.frameworks]
        # One thread: two of OpenBLAS's on two busy cores made the oracle eighteen times slower.
        with threadpool_limits(1), self.workers:
            for cell in suite.cells:
                self.prove(cell)
                self.save()
            for model, batch_size in suite.training:
                self.time_training(model, batch_size, blocks=suite.blocks)
                self.save()
        for batch_size in suite.loading_batches:
            self.time_loading(batch_size, blocks=suite.blocks)
            self.save()

    def prove(self, cell: Cell) -> None:
        """Ask every framework's lean route that has not failed at this model before."""
        judge = self.judges.judge(cell)
        for framework in self.frameworks:
            if (framework, cell.model) in self.disagreeing or framework not in (cell.frameworks or self.frameworks):
                continue
            case = Case(framework=framework, model=cell.model, device=self.device, dtype=cell.dtype)
            try:
                worker = self._lean_worker(framework)
                worker.prepare(case, self.split.take(np.arange(1)), judge.problem.recipe)
                checks = judge.check(worker, framework, dtype=cell.dtype)
            except WorkerError as error:
                self._refuse(f"{cell}, {framework}", str(error))
                self.disagreeing.add((framework, cell.model))
                continue
            self._record(checks)
            if not agree(checks):
                self._refuse(f"{cell}, {framework}", f"disagrees at: {checks[-1].check}")
                self.disagreeing.add((framework, cell.model))

    def time_training(self, model: str, batch_size: int, *, blocks: int) -> None:
        """One epoch of every route of the frameworks that agree, beside core_torch's lean route."""
        frameworks = [name for name in self.frameworks if (name, model) not in self.disagreeing]
        split = self.split.at_least(TRAINING_SIZE)
        name = f"training {model}, batch {batch_size}, {split.name}"
        recipe = self.recipe.with_changes(batch_size=batch_size)
        contenders: dict[str, Worker] = {}
        judge = EpochJudge(name, model, split, recipe)
        steps = self.judges.judge(Cell(model=model))
        with ExitStack() as others:
            for framework in sorted(frameworks, key=lambda framework: framework != cases.BASELINE[0]):
                for route in cases.FRAMEWORKS[framework].routes:
                    case = Case(
                        framework=framework, route=route, model=model, batch_size=batch_size, device=self.device
                    )
                    label = f"{framework}/{route}"
                    try:
                        worker = self._lean_worker(framework) if route == "lean" else self._start(case, others)
                        checks = []
                        if route != "lean":  # a program of its own, which has to pass the levels too
                            worker.prepare(case, split.take(np.arange(1)), steps.problem.recipe)
                            checks = steps.check(worker, label)
                        if route == "lean" or agree(checks):
                            worker.prepare(case, split, recipe)
                            checks = [*checks, *judge.check(worker, case)]
                    except WorkerError as error:
                        self._refuse(f"{name}, {label}", str(error))
                        continue
                    self._record(checks)
                    if agree(checks):
                        contenders[label] = worker
                    else:
                        self._refuse(f"{name}, {label}", f"disagrees at: {checks[-1].check}")
            self._time(name, contenders, baseline="/".join(cases.BASELINE), blocks=blocks)

    def time_loading(self, batch_size: int, *, blocks: int) -> None:
        """One epoch of every loader that delivers the right images, beside the tutorial's."""
        split = self.split.at_least(LOADING_SIZE)
        name = f"loading, batch {batch_size}, {split.name}"
        recipe = self.recipe.with_changes(batch_size=batch_size)
        contenders: dict[str, Worker] = {}
        with ExitStack() as stack:
            for route, framework in loading.LOADERS.items():
                if framework.module == "benchmarks.loaders_tensorflow" and "keras-tensorflow" not in self.frameworks:
                    continue
                case = Case(framework="loading", route=route, batch_size=batch_size, device=self.device)
                pinned = route not in loading.UNPINNED
                try:
                    worker = stack.enter_context(
                        Worker(route, module=framework.module, device=self.device, pinned=pinned)
                    )
                    worker.prepare(case, split, recipe)
                    wrong = loading.wrong_images(worker.checksums(0), split)
                except WorkerError as error:
                    self._refuse(f"{name}, {route}", str(error))
                    continue
                check = Check(name, route, SAME_IMAGES.name, float(wrong), 0.0, wrong == 0)
                self._record([check])
                if check.passed:
                    contenders[route] = worker
                else:
                    self._refuse(f"{name}, {route}", f"{wrong:,} images were wrong")
            self._time(name, contenders, baseline=loading.BASELINE, blocks=blocks)

    def _time(self, name: str, contenders: dict[str, Worker], *, baseline: str, blocks: int) -> None:
        """Warm up, run in turns, store raw samples and ratios to the baseline by both clocks."""
        if baseline not in contenders:
            self._refuse(name, f"its baseline {baseline} is not there")
            return
        samples: dict[str, list[Sample]] = {label: [] for label in contenders}
        runs = {label: worker.time for label, worker in contenders.items()}
        try:
            first_epochs = {label: warm_up(run) for label, run in runs.items()}
            turns = in_turns(runs, blocks=blocks, first_epochs=first_epochs, seed=self.recipe.seed)
            for block, label, sample in turns:
                samples[label].append(sample)
                self.say(f"{name}: block {block + 1} of {blocks}, {label}")
        except WorkerError as error:
            self._refuse(name, str(error))
            return
        for clock in ("cpu", "wall"):
            for label, taken in samples.items():
                self.results.add_measurement(name, label, taken, clock=clock)
                ratio = speed_ratio(samples[baseline], taken, clock=clock)
                self.results.add_ratio(
                    name, label, baseline=baseline, ratio=ratio, pairs=len(taken), clock=clock
                )

    def _lean_worker(self, framework: str) -> Worker:
        """One process per framework for agreement and for the lean route, which are the same program."""
        if framework not in self.lean or not self.lean[framework].is_alive:
            case = Case(framework=framework, route="lean", device=self.device)
            self.lean[framework] = self._start(case, self.workers)
        return self.lean[framework]

    def _start(self, case: Case, stack: ExitStack) -> Worker:
        framework = cases.FRAMEWORKS[case.framework]
        self.say(f"starting {case.framework}/{case.route}")
        worker = Worker(
            f"{case.framework}/{case.route}",
            module=framework.module,
            device=self.device,
            environment=framework.environment,
        )
        return stack.enter_context(worker)

    def _record(self, checks: list[Check]) -> None:
        self.results.add_checks(checks)
        outcome = "agrees" if agree(checks) else f"DISAGREES at {checks[-1].check}: {checks[-1].value:.1e}"
        self.say(f"{checks[-1].case}: {checks[-1].framework} {outcome}")

    def _refuse(self, case: str, reason: str) -> None:
        self.results.refuse(case, reason)
        self.say(f"refused: {case}: {reason}")
