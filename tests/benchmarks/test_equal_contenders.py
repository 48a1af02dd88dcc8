"""A/A: the same contender twice, in fresh processes, is seldom found to differ from itself."""

from contextlib import ExitStack

import numpy as np
import pytest

from benchmarks.ports.frameworks import BASELINE, FRAMEWORKS, RECIPE
from benchmarks.ports.process import Worker
from benchmarks.ports.sample import Sample
from benchmarks.ports.timed_port import Case
from benchmarks.timing.intervals import interleave, speed_ratio, verdict, warm_up
from core_torch.files.splits import Split

RUNS = 20
BLOCKS = 10
IMAGES = 2560  # five steps an epoch


def ratio_to_itself(split: Split, *, seed: int) -> str:
    """The verdict on core_torch's lean variant beside itself."""
    framework, variant = BASELINE
    samples: dict[str, list[Sample]] = {"first": [], "second": []}
    with ExitStack() as stack:
        runs = {}
        for name in samples:
            worker = stack.enter_context(Worker(name, module=FRAMEWORKS[framework].module))
            worker.prepare(Case(framework=framework, variant=variant), split, RECIPE)
            runs[name] = worker.time
        first_epochs = {name: warm_up(run) for name, run in runs.items()}
        for _, name, sample in interleave(runs, blocks=BLOCKS, first_epochs=first_epochs, seed=seed):
            samples[name].append(sample)
    return verdict(speed_ratio(samples["first"], samples["second"], clock="cpu"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_of_twenty_runs_at_most_one_claims_a_difference(digits: Split) -> None:
    split = digits.take(np.arange(IMAGES) % len(digits))
    verdicts = [ratio_to_itself(split, seed=seed) for seed in range(RUNS)]
    assert RUNS - verdicts.count("not distinguishable") <= 0.05 * RUNS, verdicts
