"""TimingSession: the contenders of one case and their floors, timed in turns, then each asked where its time goes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from benchmarks.ports.process import Worker
from benchmarks.ports.sample import Sample
from benchmarks.timing.clocks import is_crowded, is_stolen
from benchmarks.timing.evidence import Evidence
from benchmarks.timing.intervals import interleave, warm_up
from benchmarks.timing.progress import duration
from core_torch.parity.external import WorkerError
from core_torch.parity.judge import Check

Samples = dict[str, list[Sample]]  # {contender or floor: a sample a block}


@dataclass(frozen=True)
class Contender:
    """A verified worker.

    Attributes:
        evidence: the checks that it passed.
        floors: names of those that it is held to, its own library's first.
        recheck: repeats the checks of the very work that is timed.
    """

    worker: Worker
    evidence: Evidence
    floors: tuple[str, ...]
    recheck: Callable[[], list[Check]]


@dataclass
class Timings:
    """What a session found.

    Attributes:
        dishonest: {contender: why it is refused after all}.
        failed: checks that no longer pass once the contender is timed.
        was_disturbed: whether others used the processor meanwhile.
    """

    samples: Samples
    profiles: list[dict[str, object]] = field(default_factory=list)
    dishonest: dict[str, str] = field(default_factory=dict)
    failed: list[Check] = field(default_factory=list)
    was_disturbed: bool = False


@dataclass(frozen=True, kw_only=True)
class TimingSession:
    """One case.

    Attributes:
        clock: `cpu` or `wall`, by which parts of an image's time are told apart.
        images: in an epoch.
        images_to_target: after so many is the error below the mean image's; None: not within an epoch.
    """

    name: str
    contenders: dict[str, Contender]
    floors: dict[str, Worker]
    baseline: str
    clock: str
    images: int
    batch_size: int
    images_to_target: int | None = None

    def run(self, *, blocks: int, seed: int, log: Callable[[str], None]) -> Timings:
        """Time every contender, check each again, and profile those that still pass.

        Raises:
            WorkerError: one failed while it was timed, or the baseline no longer passes.
        """
        by_processor_time = self.clock == "cpu"
        crowded = by_processor_time and is_crowded()
        timings = Timings(self._time(blocks=blocks, seed=seed, log=log))
        stolen = is_stolen(sample for floor in self.floors for sample in timings.samples[floor])
        timings.was_disturbed = by_processor_time and (crowded or stolen or is_crowded())
        for label, contender in self.contenders.items():
            try:
                _verify_again(contender, timings)
            except WorkerError as error:
                if label == self.baseline:
                    raise
                timings.dishonest[label] = str(error)
        honest = [label for label in self.contenders if label not in timings.dishonest]
        timings.profiles = [self._profile(label, timings.samples) for label in honest]
        return timings

    def _time(self, *, blocks: int, seed: int, log: Callable[[str], None]) -> Samples:
        runs = {label: contender.worker.time for label, contender in self.contenders.items()}
        runs |= {floor: worker.time for floor, worker in self.floors.items()}
        log(f"{self.name}: warming up {len(self.contenders)} contenders and {len(self.floors)} floors")
        first_epochs = {label: warm_up(run) for label, run in runs.items()}
        samples: Samples = {label: [] for label in runs}
        started, done = time.monotonic(), 0
        for block, label, sample in interleave(runs, blocks=blocks, first_epochs=first_epochs, seed=seed):
            if block > done:
                done, left = block, (time.monotonic() - started) / block * (blocks - block)
                log(f"{self.name}: {block} of {blocks} blocks, {duration(left)} to the last")
            samples[label].append(sample)
        return samples

    def _profile(self, label: str, samples: Samples) -> dict[str, object]:
        """Return the contender's row of `profiles`, without what its variant cannot measure."""
        contender = self.contenders[label]
        row = contender.worker.profile(batch_size=self.batch_size)
        seconds = {name: median(sample.per_image(self.clock) for sample in taken) for name, taken in samples.items()}
        parts = {"total": 1e6 * seconds[label]}
        if step := row.pop("step", None):
            parts["step"] = 1e6 * step[self.clock] / self.batch_size
            own = contender.floors[0]
            parts |= {"gemm": 1e6 * seconds[own]} if own in seconds else {}
        if data := row.pop("data", None):
            parts["data"] = 1e6 * data[self.clock] / self.images
            image = median(sample.per_image("wall") for sample in samples[label])  # a sample may be of several epochs
            row["data_wait_fraction"] = min(1.0, data["wall"] / self.images / image)
        if self.images_to_target:
            row["seconds_to_target"] = self.images_to_target * seconds[label]
        return {"case": self.name, "contender": label, "microseconds_per_image": parts} | row


def _verify_again(contender: Contender, timings: Timings) -> None:
    """Raise `WorkerError` for a contender whose clocks ran otherwise than ours, or whose timed work is not the same."""
    contender.worker.check_clocks()
    if failed := [check for check in contender.recheck() if not check.passed]:
        timings.failed += failed
        raise WorkerError(f"once timed, it disagrees at: {failed[-1].level}")
