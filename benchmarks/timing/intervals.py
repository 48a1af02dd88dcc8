"""How long, and how sure. Knows no framework: a contender is a function that runs once and tells its seconds.

Contenders run in turns, each once per block in random order, so that a busy machine slows both sides of a pair;
a ratio is the median over blocks of the two times within a block, with the exact interval of its order statistics.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.ports.sample import Sample

WARM_UPS = (1, 4)  # epochs before the first that counts: at least, at most
STEADY = 0.05  # two epochs in a row this close, relatively, end the warm-up
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A median and its interval."""

    median: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether a difference from `value` may be claimed."""
        return not self.low <= value <= self.high


Run = Callable[[int], Sample]


def warm_up(run: Run) -> int:
    """Run until two runs in a row agree; the number of runs, which is also the next epoch."""
    least, most = WARM_UPS
    previous = run(0)
    for epoch in range(1, most):
        current = run(epoch)
        if epoch >= least and _is_steady(previous, current):
            return epoch + 1
        previous = current
    return most


def _is_steady(previous: Sample, current: Sample) -> bool:
    before, now = (sample.per_image("cpu") for sample in (previous, current))
    return abs(now - before) <= STEADY * before


def interleave(
    contenders: Mapping[str, Run], *, blocks: int, first_epochs: Mapping[str, int], seed: int = 0
) -> Iterator[tuple[int, str, Sample]]:
    """(block, contender, sample): every contender once per block, in an order drawn anew for each."""
    generator = np.random.default_rng(seed)
    names = list(contenders)
    for block in range(blocks):
        for place in generator.permutation(len(names)):
            name = names[place]
            yield block, name, contenders[name](first_epochs[name] + block)


def interval(values: Sequence[float]) -> Interval:
    """Return the median of `values`, and the innermost pair of them that holds the true median with 95 % or more.

    It is the sign test inverted, exact for every distribution (Thompson 1936). Of 10 values the second smallest and
    the second largest hold the median with 97.9 %. Fewer than 6 cannot reach 95 %; their whole range is returned.
    """
    ordered = sorted(map(float, values))
    cut = _left_out(len(ordered))
    return Interval(float(np.median(ordered)), ordered[cut], ordered[-1 - cut])


@cache
def _left_out(count: int) -> int:
    """Return how many of the sorted values lie outside the interval at each end."""
    from scipy.stats import quantile_test

    low = quantile_test(range(count), p=0.5).confidence_interval(CONFIDENCE).low  # of 0, 1, 2, ...: a place
    return 0 if math.isnan(low) else int(low)


def speed_ratio(baseline: list[Sample], contender: list[Sample], *, clock: str) -> Interval:
    """How many times faster the contender is: seconds an image of the baseline over its own, pair by pair."""
    pairs = zip(baseline, contender, strict=True)
    return interval([slow.per_image(clock) / fast.per_image(clock) for slow, fast in pairs])


def verdict(ratio: Interval) -> str:
    """What the interval allows to be said."""
    if not ratio.excludes(1.0):
        return "not distinguishable"
    return "faster" if ratio.median > 1 else "slower"
