"""Runner: runs a suite. It proves, then times. A refusal is recorded and never ends the run."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import suites
from benchmarks.loaders import loading
from benchmarks.ports import frameworks
from benchmarks.ports.epoch_agreement import EpochReference
from benchmarks.ports.frameworks import CLOSED_FORM, GRADIENT_DESCENT, RECIPE, RECIPES, Framework
from benchmarks.ports.process import Worker
from benchmarks.ports.timed_port import Case
from benchmarks.prover import Prover
from benchmarks.recorder import Log, Recorder
from benchmarks.report.results_file import Results
from benchmarks.suites import Loading, Scaling, Suite, Training
from benchmarks.timing import floors, quality
from benchmarks.timing.evidence import Evidence, hash_arrays
from benchmarks.timing.progress import Progress
from benchmarks.timing.session import Contender, TimingSession
from core_torch.files.splits import Split
from core_torch.parity.judge import Check
from core_torch.parity.matrix import Cell
from core_torch.parity.tolerances import SAME_IMAGES
from core_torch.spec.architecture import architecture_named

BASELINE_NAME = "/".join(frameworks.BASELINE)
Stages = list[tuple[str, Callable[[], None]]]  # (kind, what to run)


@dataclass(frozen=True)
class Delivery:
    """A contender that delivers images: its program, its case, and the images that it has to deliver."""

    program: Framework
    case: Case
    split: Split


class Runner:
    """One run over one dataset.

    Args:
        results: filled as the run goes on.
        split: the images. Agreement uses them as they are; timing repeats or cuts them to the suite's sizes.
        names: of frameworks, in `frameworks.FRAMEWORKS`.
        save: called after every stage, so that an interrupted run leaves what it found.
    """

    def __init__(
        self,
        results: Results,
        split: Split,
        *,
        names: list[str],
        device: str,
        seed: int,
        log: Log,
        save: Callable[[], None],
    ) -> None:
        self.results, self.split, self.names, self.device, self.seed = results, split, names, device, seed
        self.recorder, self.save = Recorder(results, device=device, log=log), save

    def run(self, suite: Suite) -> None:
        """Prove every cell, then time every case; nothing that disagrees is timed."""
        reference = frameworks.BASELINE[0]
        if suite.training and reference not in self.names:  # what every ratio is taken to is proved as well
            self.names = [reference, *self.names]
        self.prover = Prover(self.recorder, self.split, names=self.names, seed=self.seed)
        proofs: Stages = [("prove", partial(self.prover.prove, cell)) for cell in suite.cells]
        timings = self._timings(suite)
        progress = Progress([kind for kind, _ in proofs + timings], self.recorder.log)
        self.recorder.log = progress.log
        # One thread: two of OpenBLAS's on two busy cores made the oracle eighteen times slower.
        with threadpool_limits(1):
            if suite.is_calibrated and self.device.startswith("cuda"):
                self.calibrate()
            with self.prover:  # whose processes end with it: what is timed starts afresh
                for _, prove in proofs:
                    with progress.stage():
                        prove()
                    self.save()
            for _, time in timings:
                with progress.stage():
                    time()
                self.save()

    def _timings(self, suite: Suite) -> Stages:
        absent = frozenset() if self.device == "cpu" else suites.SCALING_ON_CPU
        scaling = [each for each in suite.scaling if each.variant not in absent]
        return [
            *(("training", partial(self.time_training, training, suite)) for training in suite.training),
            *(("loading", partial(self.time_loading, load, suite)) for load in suite.loading),
            *(("scaling", partial(self.time_scaling, each, suite)) for each in scaling),
            *(("quality", partial(self.time_to_quality, original)) for original in suite.quality),
            *([("closed form", self.time_closed_form)] if suite.with_closed_form else []),
        ]

    def calibrate(self) -> None:
        """Keep what the device takes for single operations, in microseconds, beside what the machine is."""
        with self.recorder.refusing("calibration"), ExitStack() as stack:
            worker = self.recorder.start("calibration", Framework("benchmarks.timing.calibration", {}), stack)
            worker.prepare(Case(framework="calibration", device=self.device), self.split, RECIPE)
            figures = {name: float(value) for name, value in worker.figures().items()}
            self.results.environment["calibration"] = figures

    def time_training(self, training: Training, suite: Suite) -> None:
        """Time one epoch of every variant of the frameworks that agree."""
        split = of_size(self.split, training.images)
        name = f"{training}, {split.name}"
        recipe = RECIPES[training.optimizer].with_changes(batch_size=training.batch_size, seed=self.seed)
        reference = EpochReference(name, training.model, split, recipe)
        cases = self._training_cases(training)
        contenders = {}
        with ExitStack() as stack:
            programs = {label: frameworks.FRAMEWORKS[case.framework] for label, case in cases.items()}
            for label, worker in self.recorder.start_all(programs, stack).items():
                with self.recorder.refusing(f"{name}, {label}"):
                    steps = self._prove_steps(worker, cases[label], training, label)
                    worker.prepare(cases[label], split, recipe)
                    contenders[label] = self._prove_epoch(worker, cases[label], reference, steps)
            case = Case(framework="floor", model=training.model, batch_size=training.batch_size, device=self.device)
            operations = floors.operations_per_image(architecture_named(training.model), training.batch_size)
            self._time(
                name,
                contenders,
                BASELINE_NAME,
                case,
                split,
                suite,
                operations=operations,
                images_to_target=reference.images_to_target,
            )

    def _training_cases(self, training: Training) -> dict[str, Case]:
        """Return {framework/variant: its case} of all that agree, the baseline's framework first."""
        agreeing = [name for name in self.names if (name, training.model) not in self.prover.disagreeing]
        return {
            f"{name}/{variant}": Case(
                framework=name,
                variant=variant,
                model=training.model,
                batch_size=training.batch_size,
                device=self.device,
            )
            for name in sorted(agreeing, key=lambda name: name != frameworks.BASELINE[0])
            for variant in frameworks.choose_variants(
                name,
                model=training.model,
                optimizer=training.optimizer,
                extras=training.extras,
                device=self.device,
            )
        }

    def _prove_steps(self, worker: Worker, case: Case, training: Training, label: str) -> list[str]:
        """Return ids of checks of the steps: a lean variant's own, or those that this very program passes now."""
        optimizer = "momentum" if training.optimizer == "sgd" else training.optimizer
        cell = Cell(model=training.model, optimizer=optimizer)
        known = self.prover.evidence.get((case.framework, cell)) if case.variant == "lean" else None
        return known or self.prover.check(worker, case, cell, label)

    def _prove_epoch(self, worker: Worker, case: Case, reference: EpochReference, steps: list[str]) -> Contender:
        """Hold a whole epoch against the reference."""
        recheck = partial(reference.check, worker, case)
        ids = steps + self.recorder.require(recheck())
        digest = hash_arrays(array for _, array in sorted(worker.weights().items()))
        return Contender(worker, Evidence(ids, digest), (floors.OWN_GEMM[case.framework], "gemm numpy"), recheck)

    def time_loading(self, load: Loading, suite: Suite) -> None:
        """Time one epoch of every loader that delivers the right images."""
        split = of_size(self.split, load.images)
        case = Case(framework="loading", batch_size=load.batch_size, device=self.device)
        deliveries = {
            variant: Delivery(loading.LOADERS[variant], replace(case, variant=variant), split)
            for variant in loading.choose_variants(self.names, device=self.device, extras=load.extras)
        }
        self._time_deliveries(f"{load}, {split.name}", deliveries, loading.BASELINE, suite, held_to=floors.DATA)

    def time_scaling(self, scaling: Scaling, suite: Suite) -> None:
        """Time one epoch of a variant over each of several sizes, beside the smallest."""
        case = Case(framework="scaling", variant=scaling.variant, batch_size=scaling.batch_size, device=self.device)
        deliveries = {
            label: Delivery(suites.SCALING, case, of_size(self.split, images))
            for label, images in zip(scaling.labels, scaling.images)
        }
        self._time_deliveries(f"{scaling}, {self.split.name}", deliveries, scaling.labels[0], suite, held_to=())

    def _time_deliveries(
        self, name: str, deliveries: Mapping[str, Delivery], baseline: str, suite: Suite, *, held_to: tuple[str, ...]
    ) -> None:
        """Time those that deliver every image of an epoch, once, shuffled."""
        contenders = {}
        with ExitStack() as stack:
            programs = {label: delivery.program for label, delivery in deliveries.items()}
            workers = self.recorder.start_all(programs, stack, unpinned=loading.UNPINNED_LOADERS)
            for label, worker in workers.items():
                with self.recorder.refusing(f"{name}, {label}"):
                    contenders[label] = self._prove_delivery(worker, name, label, deliveries[label], held_to)
            first = deliveries[baseline]
            floor_case = Case(framework="floor", batch_size=first.case.batch_size)
            self._time(name, contenders, baseline, floor_case, first.split, suite)

    def _prove_delivery(
        self, worker: Worker, name: str, label: str, delivery: Delivery, held_to: tuple[str, ...]
    ) -> Contender:
        recipe = RECIPE.with_changes(seed=self.seed, batch_size=delivery.case.batch_size)
        worker.prepare(delivery.case, delivery.split, recipe)
        delivered = worker.checksums(0)

        def check(delivered: np.ndarray) -> list[Check]:
            wrong = loading.wrong_images(delivered, delivery.split)
            return [Check(name, label, SAME_IMAGES.name, float(wrong), 0.0, wrong == 0)]

        checks = check(delivered)
        ids = self.recorder.require(checks, reason=f"{checks[0].value:,.0f} images were wrong")
        digest = hash_arrays([np.sort(delivered)])  # in whatever order
        return Contender(worker, Evidence(ids, digest), held_to, lambda: check(worker.checksums(0)))

    def _time(
        self,
        name: str,
        contenders: dict[str, Contender],
        baseline: str,
        floor_case: Case,
        split: Split,
        suite: Suite,
        *,
        operations: float = 0.0,
        images_to_target: int | None = None,
    ) -> None:
        """Start the floors that anyone is held to, then time all of them in one session."""
        if baseline not in contenders:
            self.recorder.refuse(name, f"its baseline {baseline} is not there")
            return
        with self.recorder.refusing(name), ExitStack() as stack:
            named = dict.fromkeys(floor for each in contenders.values() for floor in each.floors)
            workers = self.recorder.start_all({floor: floors.FLOORS[floor] for floor in named}, stack)
            for floor, worker in workers.items():
                worker.prepare(replace(floor_case, variant=floor), split, RECIPE)
            session = TimingSession(
                name=name,
                contenders=contenders,
                floors=workers,
                baseline=baseline,
                clock=self.results.clock,
                images=len(split),
                batch_size=floor_case.batch_size,
                images_to_target=images_to_target,
            )
            timings = session.run(blocks=suite.blocks, seed=self.seed, log=self.recorder.log)
            self.results.add_session(session, timings, operations=operations)

    def time_to_quality(self, original: quality.Original) -> None:
        """Check that a training has the original's error, in a twentieth of its epochs. Known of MNIST only."""
        if self.split.name != "mnist":
            self.recorder.log(f"{original}: left out, the original's error is of mnist")
            return
        with self.recorder.refusing(str(original)), ExitStack() as stack:
            worker = self.recorder.start("best", frameworks.QUALITY, stack, timeout=quality.TIMEOUT_SECONDS)
            found = quality.time_to_quality(original, worker, self.split, device=self.device, seed=self.seed)
            self.results.add_checks([found])
            self.recorder.log(f"{original}: {found.value:.5f} in {original.allowed} epochs, to reach {found.tolerance}")

    def time_closed_form(self) -> None:
        """Time the closed form against gradient descent; no time is kept unless its error is no larger."""
        with self.recorder.refusing(CLOSED_FORM), ExitStack() as stack:
            workers = {
                variant: self.recorder.start(variant, frameworks.QUALITY, stack, timeout=quality.TIMEOUT_SECONDS)
                for variant in (CLOSED_FORM, GRADIENT_DESCENT)
            }
            found = quality.time_closed_form(
                workers,
                self.split,
                device=self.device,
                clock=self.results.clock,
                seed=self.seed,
                log=self.recorder.log,
            )
            ids = self.results.add_checks(found.checks)
            if found.is_proved:
                digests = {label: hash_arrays([np.array(error)]) for label, error in found.errors.items()}
                evidence = {label: Evidence([id_], digests[label]) for label, id_ in zip(digests, ids)}
                self.results.add_times(found.name, found.samples, evidence, baseline=GRADIENT_DESCENT)


def of_size(split: Split, count: int) -> Split:
    """Repeat or cut a split to `count` images; its name says so."""
    if len(split) <= count:
        return split.at_least(count)
    return replace(split.take(np.arange(count)), name=f"{split.name} cut to {count:,}")
