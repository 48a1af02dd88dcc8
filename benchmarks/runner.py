"""Runs a suite: prove, then time. A refusal is recorded and never ends the run."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.loaders import loading
from benchmarks.ports import frameworks as cases
from benchmarks.ports.epoch_agreement import EpochJudge, rows
from benchmarks.ports.process import Worker
from benchmarks.ports.timed_port import Case
from benchmarks.report.results_file import Results, Work, digest_of
from benchmarks.suites import GROWN, GROWN_ON_CPU, Growth, Loading, Suite, Training
from benchmarks.timing import floors, quality
from benchmarks.timing.progress import Progress
from benchmarks.timing.session import Contender, Contest
from core_torch.files.splits import Split
from core_torch.parity.external import WorkerError
from core_torch.parity.judge import Check, agree
from core_torch.parity.matrix import Cell, Judges
from core_torch.parity.tolerances import SAME_IMAGES
from core_torch.spec.architecture import architecture_named
from core_torch.spec.recipe import Recipe

JUDGED_IMAGES = 2000  # from which agreement's batches are taken

Say = Callable[[str], None]
Save = Callable[[], None]


class Runner:
    """One run over one dataset.

    Args:
        results: filled as the run goes on.
        split: the images. Agreement uses them as they are; timing repeats or cuts them to the suite's sizes.
        frameworks: names in `cases.FRAMEWORKS`.
        save: called after every stage, so that an interrupted run leaves what it found.
    """

    def __init__(
        self, results: Results, split: Split, *, frameworks: list[str], device: str, seed: int, say: Say, save: Save
    ) -> None:
        self.results, self.split, self.frameworks, self.device = results, split, frameworks, device
        self.seed, self.say, self.save = seed, say, save
        self.workers = ExitStack()
        self.lean: dict[str, Worker] = {}
        self.judges = Judges(rows(split.take(np.arange(min(len(split), JUDGED_IMAGES)))), seed=seed)
        self.disagreeing: set[tuple[str, str]] = set()  # (framework, model): not timed
        self.proofs: dict[tuple[str, Cell], list[str]] = {}  # of lean routes: ids of the checks passed

    def run(self, suite: Suite) -> None:
        """Agreement first; nothing that disagrees is timed."""
        if suite.training and cases.BASELINE[0] not in self.frameworks:
            # What every ratio is taken to is proved as well.
            self.frameworks = [cases.BASELINE[0], *self.frameworks]
        later: list[tuple[str, Callable[[], None]]] = [
            *(("load", partial(self.time_loading, load, suite)) for load in suite.loading),
            *(("grow", partial(self.time_growth, growth, suite)) for growth in self._grown(suite)),
            *(("reach", partial(self.reach, original)) for original in suite.quality),
            *([("race", self.race)] if suite.is_raced else []),
        ]
        if suite.is_calibrated and self.device.startswith("cuda"):
            self.calibrate()
        kinds = [*("prove" for _ in suite.cells), *("train" for _ in suite.training), *(kind for kind, _ in later)]
        progress = Progress(kinds, self.say)
        self.say = progress.say
        # One thread: two of OpenBLAS's on two busy cores made the oracle eighteen times slower.
        with threadpool_limits(1), self.workers:
            if suite.cells:
                self.lean = self._start_all(
                    {f"{framework}/lean": cases.FRAMEWORKS[framework] for framework in self.frameworks}, self.workers
                )
            for cell in suite.cells:
                with progress.stage():
                    self.prove(cell)
                self.save()
            self.workers.close()  # what is timed starts afresh
            for training in suite.training:
                with progress.stage():
                    self.time_training(training, suite)
                self.save()
        for _, stage in later:
            with progress.stage():
                stage()
            self.save()

    def calibrate(self) -> None:
        """Keep what the device takes for single operations, in microseconds, beside what the machine is."""
        with self._refusing("calibration"), ExitStack() as stack:
            worker = self._start("calibration", cases.Framework("benchmarks.timing.calibration", {}), stack)
            case = Case(framework="calibration", device=self.device)
            worker.prepare(case, self.split, cases.RECIPE)
            figures = {name: float(value) for name, value in worker.figures().items()}
            self.results.environment["calibration"] = figures

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
            self.proofs[framework, cell] = self._record(checks)
            if not agree(checks):
                self._refuse(f"{cell}, {framework}", f"disagrees at: {checks[-1].level}")
                self.disagreeing.add((framework, cell.model))

    def time_training(self, training: Training, suite: Suite) -> None:
        """One epoch of every route of the frameworks that agree, beside core_torch's lean route."""
        model, size = training.model, training.batch_size
        split = of_size(self.split, training.images)
        kind = "" if training.optimizer == "sgd" else f" by {training.optimizer}"
        name = f"training {model}{kind}, batch {size}, {split.name}"
        recipe = cases.RECIPES[training.optimizer].with_changes(batch_size=size, seed=self.seed)
        judge = EpochJudge(name, model, split, recipe)
        cell = Cell(model=model, optimizer="momentum" if training.optimizer == "sgd" else training.optimizer)
        frameworks = [framework for framework in self.frameworks if (framework, model) not in self.disagreeing]
        chosen = partial(cases.routes_of, model=model, optimizer=training.optimizer, extras=training.extras)
        entered = {
            f"{framework}/{route}": Case(
                framework=framework, route=route, model=model, batch_size=size, device=self.device
            )
            for framework in sorted(frameworks, key=lambda framework: framework != cases.BASELINE[0])
            for route in chosen(framework, device=self.device)
        }
        contenders: dict[str, Contender] = {}
        with ExitStack() as stack:
            programs = {label: cases.FRAMEWORKS[case.framework] for label, case in entered.items()}
            for label, worker in self._start_all(programs, stack).items():
                case = entered[label]
                with self._refusing(f"{name}, {label}"):
                    proofs = self.proofs.get((case.framework, cell), []) if case.route == "lean" else []
                    if not proofs:  # a program of its own, which has to pass the levels too
                        proofs = self._check_steps(worker, case, cell, label)
                    worker.prepare(case, split, recipe)
                    proofs = proofs + self._require(judge.check(worker, case))
                    digest = digest_of(array for _, array in sorted(worker.weights().items()))
                    own = (floors.OWN_GEMM[case.framework], "gemm numpy")
                    again = partial(judge.check, worker, case)
                    contenders[label] = Contender(worker, Work(proofs, digest), own, again)
            operations = floors.operations_per_image(architecture_named(model), size)
            target = judge.images_to_target
            case = Case(framework="floor", model=model, batch_size=size, device=self.device)
            baseline = "/".join(cases.BASELINE)
            self._time(name, contenders, baseline, case, split, suite, operations=operations, images_to_target=target)

    def time_loading(self, load: Loading, suite: Suite) -> None:
        """One epoch of every loader that delivers the right images, beside the tutorial's."""
        split, size = of_size(self.split, load.images), load.batch_size
        name = f"loading, batch {size}, {split.name}"
        recipe = cases.RECIPE.with_changes(seed=self.seed, batch_size=size)
        routes = loading.routes_of(self.frameworks, device=self.device, extras=load.extras)
        contenders: dict[str, Contender] = {}
        with ExitStack() as stack:
            programs = {route: loading.LOADERS[route] for route in routes}
            for route, worker in self._start_all(programs, stack, unpinned=loading.UNPINNED).items():
                case = Case(framework="loading", route=route, batch_size=size, device=self.device)
                with self._refusing(f"{name}, {route}"):
                    work = self._delivers(worker, name, route, case, split, recipe)
                    again = partial(self._same_images, worker, name, route, split)
                    contenders[route] = Contender(worker, work, tuple(floors.DATA), again)
            self._time(name, contenders, loading.BASELINE, Case(framework="floor", batch_size=size), split, suite)

    def time_growth(self, growth: Growth, suite: Suite) -> None:
        """One epoch of a route over each of several sizes, beside the smallest."""
        name, size = f"{growth}, {self.split.name}", growth.batch_size
        recipe = cases.RECIPE.with_changes(seed=self.seed, batch_size=size)
        case = Case(framework="growth", route=growth.route, batch_size=size, device=self.device)
        contenders: dict[str, Contender] = {}
        with ExitStack() as stack:
            images = dict(zip(growth.labels, growth.images))
            for label, worker in self._start_all(dict.fromkeys(images, GROWN), stack).items():
                with self._refusing(f"{name}, {label}"):
                    grown = of_size(self.split, images[label])
                    work = self._delivers(worker, name, label, case, grown, recipe)
                    again = partial(self._same_images, worker, name, label, grown)
                    contenders[label] = Contender(worker, work, (), again)
            self._time(name, contenders, growth.labels[0], case, self.split, suite)

    def _grown(self, suite: Suite) -> list[Growth]:
        return [each for each in suite.growth if self.device == "cpu" or each.route not in GROWN_ON_CPU]

    def _delivers(self, worker: Worker, name: str, label: str, case: Case, split: Split, recipe: Recipe) -> Work:
        """Every image of an epoch, once, shuffled; `WorkerError` if not."""
        worker.prepare(case, split, recipe)
        delivered = worker.checksums(0)
        checks = self._judge_images(delivered, name, label, split)
        proofs = self._require(checks, reason=f"{checks[0].value:,.0f} images were wrong")
        return Work(proofs, digest_of([np.sort(delivered)]))  # in whatever order

    def _same_images(self, worker: Worker, name: str, label: str, split: Split) -> list[Check]:
        return self._judge_images(worker.checksums(0), name, label, split)

    def _judge_images(self, delivered: np.ndarray, name: str, label: str, split: Split) -> list[Check]:
        wrong = loading.wrong_images(delivered, split)
        return [Check(name, label, SAME_IMAGES.name, float(wrong), 0.0, wrong == 0)]

    def reach(self, original: quality.Original) -> None:
        """Whether a training has the original's error, in a twentieth of its epochs. Known of MNIST only."""
        if self.split.name != "mnist":
            self.say(f"{original}: left out, the original's error is of mnist")
            return
        with self._refusing(str(original)), ExitStack() as stack:
            worker = self._start("best", quality.FRAMEWORK, stack, timeout=quality.TIMEOUT_SECONDS)
            found = quality.reach(original, worker, self.split, device=self.device, seed=self.seed)
            self.results.add_checks([found])
            self.say(f"{original}: {found.value:.5f} in {original.allowed} epochs, to reach {found.tolerance}")

    def race(self) -> None:
        """The closed form against gradient descent."""
        with self._refusing(quality.CLOSED_FORM), ExitStack() as stack:
            workers = {
                route: self._start(route, quality.FRAMEWORK, stack, timeout=quality.TIMEOUT_SECONDS)
                for route in (quality.CLOSED_FORM, quality.GRADIENT_DESCENT)
            }
            quality.race(self.results, workers, self.split, device=self.device, seed=self.seed, say=self.say)

    def _time(
        self,
        name: str,
        contenders: dict[str, Contender],
        baseline: str,
        floor_case: Case,
        split: Split,
        suite: Suite,
        **facts: Any,
    ) -> None:
        """Start the floors that anyone is held to, then hold the contest."""
        if baseline not in contenders:
            self._refuse(name, f"its baseline {baseline} is not there")
            return
        with self._refusing(name), ExitStack() as stack:
            named = dict.fromkeys(floor for each in contenders.values() for floor in each.floors)
            workers = self._start_all({floor: floors.FLOORS[floor] for floor in named}, stack)
            for floor, worker in workers.items():
                worker.prepare(replace(floor_case, route=floor), split, cases.RECIPE)
            contest = Contest(
                name=name,
                contenders=contenders,
                floors=workers,
                baseline=baseline,
                images=len(split),
                batch_size=floor_case.batch_size,
                **facts,
            )
            contest.run(self.results, blocks=suite.blocks, seed=self.seed, say=self.say)

    def _check_steps(self, worker: Worker, case: Case, cell: Cell, label: str) -> list[str]:
        """The levels of a cell, on the very route."""
        judge = self.judges.judge(cell)
        worker.prepare(case, self.split.take(np.arange(1)), judge.problem.recipe)
        return self._require(judge.check(worker, label))

    def _require(self, checks: list[Check], *, reason: str = "") -> list[str]:
        """Record; the ids of the checks. `WorkerError` if one failed."""
        proofs = self._record(checks)
        if not agree(checks):
            raise WorkerError(reason or f"disagrees at: {checks[-1].level}")
        return proofs

    def _lean_worker(self, framework: str) -> Worker:
        """One process per framework for all of agreement."""
        label = f"{framework}/lean"
        if label not in self.lean or not self.lean[label].is_alive:
            self.lean[label] = self._start(label, cases.FRAMEWORKS[framework], self.workers)
        return self.lean[label]

    def _start_all(
        self, programs: dict[str, cases.Framework], stack: ExitStack, *, unpinned: Collection[str] = ()
    ) -> dict[str, Worker]:
        """Together, so that what they import is imported on all cores; one that cannot be started is refused."""
        workers = {}
        for label, program in programs.items():
            with self._refusing(label):
                workers[label] = self._start(label, program, stack, pinned=label not in unpinned)
        return workers

    def _start(self, label: str, framework: cases.Framework, stack: ExitStack, **options: Any) -> Worker:
        self.say(f"starting {label}")
        environment, module = framework.environment, framework.module
        worker = Worker(label, module=module, device=self.device, environment=environment, **options)
        return stack.enter_context(worker)

    def _record(self, checks: list[Check]) -> list[str]:
        outcome = "agrees" if agree(checks) else f"DISAGREES at {checks[-1].level}: {checks[-1].value:.1e}"
        self.say(f"{checks[-1].case}: {checks[-1].framework} {outcome}")
        return self.results.add_checks(checks)

    @contextmanager
    def _refusing(self, case: str) -> Iterator[None]:
        """What a worker fails at inside refuses the case, and does not end the run."""
        try:
            yield
        except WorkerError as error:
            self._refuse(case, str(error))

    def _refuse(self, case: str, reason: str) -> None:
        self.results.refuse(case, reason)
        self.say(f"refused: {case}: {reason}")


def of_size(split: Split, count: int) -> Split:
    """Repeated or cut to `count` images; the name says so."""
    if len(split) <= count:
        return split.at_least(count)
    return replace(split.take(np.arange(count)), name=f"{split.name} cut to {count:,}")
