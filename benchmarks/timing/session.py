"""A contest: the contenders of one case and their floors, timed in turns, then each asked where its time goes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.ports.process import Worker
from benchmarks.report.results_file import CLOCKS, Results, Work
from benchmarks.timing.clocks import is_crowded, is_stolen
from benchmarks.timing.intervals import Sample, in_turns, speed_ratio, warm_up
from benchmarks.timing.progress import duration
from core_torch.parity.external import WorkerError
from core_torch.parity.judge import Check


@dataclass(frozen=True)
class Contender:
    """A worker that did equal work, the proof, the floors that it is held to, its own library's first; and how to prove
    it again.
    """

    worker: Worker
    work: Work
    floors: tuple[str, ...]
    again: Callable[[], list[Check]]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One case.

    Attributes:
        images: in an epoch.
        operations: multiplications and additions of matrix products, per image.
        images_to_target: after so many is the error below the mean image's; None: not within an epoch.
    """

    name: str
    contenders: dict[str, Contender]
    floors: dict[str, Worker]
    baseline: str
    images: int
    batch_size: int
    operations: float = 0.0
    images_to_target: int | None = None

    def run(self, results: Results, *, blocks: int, seed: int, say: Callable[[str], None]) -> None:
        """Time, then profile; everything goes to `results`, and nothing if a worker fails while it is timed.

        A contender whose work or whose clocks turn out to be others' than ours is refused afterwards.

        Raises:
            WorkerError: one failed, or the baseline is refused.
        """
        by_processor_time = results.clock == "cpu"
        crowded = by_processor_time and is_crowded()
        samples = self._samples(blocks=blocks, seed=seed, say=say)
        stolen = is_stolen(sample for floor in self.floors for sample in samples[floor])
        if by_processor_time and (crowded or stolen or is_crowded()):
            results.environment["busy"] = True
        replace(self, contenders=self._honest(results))._record(results, samples)

    def _honest(self, results: Results) -> dict[str, Contender]:
        kept = {}
        for label, contender in self.contenders.items():
            try:
                contender.worker.check_clocks()
                if failed := [check for check in contender.again() if not check.passed]:
                    results.add_checks(failed)
                    raise WorkerError(f"once timed, it disagrees at: {failed[-1].level}")
                kept[label] = contender
            except WorkerError as error:
                if label == self.baseline:
                    raise
                results.refuse(f"{self.name}, {label}", str(error))
        return kept

    def _record(self, results: Results, samples: dict[str, list[Sample]]) -> None:
        rows = [self._profile(label, samples, clock=results.clock) for label in self.contenders]
        works = {label: contender.work for label, contender in self.contenders.items()}
        results.add_times(self.name, samples, works, baseline=self.baseline)
        for clock in CLOCKS:
            for floor in self.floors:
                held = [label for label, contender in self.contenders.items() if floor in contender.floors]
                times = {label: speed_ratio(samples[label], samples[floor], clock=clock) for label in held}
                taken = samples[floor]
                results.add_floor(self.name, floor, taken, clock=clock, times=times, operations=self.operations)
        results.profiles += rows

    def _samples(self, *, blocks: int, seed: int, say: Callable[[str], None]) -> dict[str, list[Sample]]:
        runs = {label: contender.worker.time for label, contender in self.contenders.items()}
        runs |= {floor: worker.time for floor, worker in self.floors.items()}
        say(f"{self.name}: warming up {len(self.contenders)} contenders and {len(self.floors)} floors")
        first_epochs = {label: warm_up(run) for label, run in runs.items()}
        samples: dict[str, list[Sample]] = {label: [] for label in runs}
        started, done = time.monotonic(), 0
        for block, label, sample in in_turns(runs, blocks=blocks, first_epochs=first_epochs, seed=seed):
            if block > done:
                done, left = block, (time.monotonic() - started) / block * (blocks - block)
                say(f"{self.name}: {block} of {blocks} blocks, {duration(left)} to the last")
            samples[label].append(sample)
        return samples

    def _profile(self, label: str, samples: dict[str, list[Sample]], *, clock: str) -> dict[str, object]:
        """The contender's row of `profiles`; what a route cannot tell is left out."""
        contender = self.contenders[label]
        row = contender.worker.profile(batch_size=self.batch_size)
        seconds = {name: median(sample.per_image(clock) for sample in taken) for name, taken in samples.items()}
        parts = {"total": 1e6 * seconds[label]}
        if step := row.pop("step", None):
            parts["step"] = 1e6 * step[clock] / self.batch_size
            own = contender.floors[0]
            parts |= {"gemm": 1e6 * seconds[own]} if own in seconds else {}
        if data := row.pop("data", None):
            parts["data"] = 1e6 * data[clock] / self.images
            image = median(sample.per_image("wall") for sample in samples[label])  # a sample may be of several epochs
            row["data_wait_fraction"] = min(1.0, data["wall"] / self.images / image)
        if self.images_to_target:
            row["seconds_to_target"] = self.images_to_target * seconds[label]
        return {"case": self.name, "contender": label, "microseconds_per_image": parts} | row
