"""The statistics claim no more than the samples allow, whatever else the machine is doing."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.ports.sample import Sample
from benchmarks.timing import intervals as timing
from benchmarks.timing.evidence import Evidence
from benchmarks.timing.intervals import Interval, interleave, interval, speed_ratio, verdict, warm_up
from benchmarks.timing.session import Contender, TimingSession

BLOCKS = 10


def seconds(*values: float, images: int = 1) -> list[Sample]:
    return [Sample(wall=value, cpu=value, images=images) for value in values]


def noisy(generator: np.random.Generator, *, disturbed: float = 0.2) -> list[Sample]:
    """Epochs of equal work on a machine that takes twice as long for a share of them."""
    values = generator.lognormal(sigma=0.05, size=BLOCKS) * np.where(generator.random(BLOCKS) < disturbed, 2, 1)
    return seconds(*values)


def test_a_sample_is_seconds_an_image():
    sample = Sample(wall=6.0, cpu=3.0, images=1500)
    assert (sample.per_image("wall"), sample.per_image("cpu")) == (0.004, 0.002)


def test_the_middle_of_the_interval_is_the_median_and_not_the_mean():
    assert interval([1, 2, 3, 4, 100]).median == 3
    assert interval([1, 2, 3, 100]).median == 2.5


def test_one_sample_and_equal_samples_have_no_spread():
    assert interval([7.0]) == Interval(7, 7, 7)
    assert interval([0.1] * 9) == Interval(0.1, 0.1, 0.1)


@pytest.mark.parametrize(
    ("count", "lowest", "coverage"),
    [(5, 1, 0.9375), (6, 1, 0.96875), (9, 2, 0.9609375), (10, 2, 0.978515625), (12, 3, 0.96142578125)],
)
def test_the_interval_is_that_of_the_sign_test(count, lowest, coverage):
    # Coverages from the binomial table: 1 - 2 P(fewer than `lowest` of `count` coins fall heads).
    found = interval(range(1, count + 1))
    assert (found.low, found.high) == (lowest, count + 1 - lowest)
    tail = sum(math.comb(count, heads) for heads in range(lowest)) / 2**count
    assert 1 - 2 * tail == coverage


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(min_value=1e-9, max_value=1e3), min_size=1, max_size=15))
def test_the_median_lies_in_its_interval_and_that_in_the_range(values):
    found = interval(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)


def coverage(centre: float) -> float:
    generator = np.random.default_rng(0)
    runs = [interval(generator.normal(loc=10, size=15)) for _ in range(300)]
    return float(np.mean([not run.excludes(centre) for run in runs]))


def test_95_percent_of_intervals_hold_the_true_median():
    assert 0.90 <= coverage(10) <= 0.99


def test_few_intervals_hold_another_value():
    assert coverage(11.5) < 0.05


def test_the_ratio_is_how_many_times_faster():
    ratio = speed_ratio(seconds(6, 6, 6), seconds(2, 2, 2), clock="cpu")
    assert ratio == Interval(3, 3, 3)
    assert speed_ratio(seconds(2), seconds(6), clock="wall").median == pytest.approx(1 / 3)


def test_the_ratio_is_of_seconds_an_image():
    ratio = speed_ratio(seconds(6, images=100), seconds(6, images=300), clock="cpu")
    assert ratio.median == pytest.approx(3)


def test_each_clock_has_its_ratio():
    slow, fast = [Sample(wall=8, cpu=3, images=1)], [Sample(wall=2, cpu=1, images=1)]
    assert speed_ratio(slow, fast, clock="wall").median == 4
    assert speed_ratio(slow, fast, clock="cpu").median == 3


def test_a_machine_that_slows_whole_blocks_changes_nothing():
    generator = np.random.default_rng(0)
    slow, fast = generator.uniform(3, 4, BLOCKS), generator.uniform(1, 1.2, BLOCKS)
    load = np.where(np.arange(BLOCKS) % 3 == 0, 10.0, 1.0)
    calm = speed_ratio(seconds(*slow), seconds(*fast), clock="wall")
    busy = speed_ratio(seconds(*slow * load), seconds(*fast * load), clock="wall")
    assert np.allclose([busy.median, busy.low, busy.high], [calm.median, calm.low, calm.high])


def test_a_load_that_moves_between_the_sides_of_a_pair_widens_the_interval():
    load = np.tile([1.0, 10.0], BLOCKS // 2)
    assert verdict(speed_ratio(seconds(*2 * load), seconds(*load), clock="wall")) == "faster"
    apart = speed_ratio(seconds(*2 * load), seconds(*load[::-1]), clock="wall")
    assert verdict(apart) == "not distinguishable"


def test_sides_of_unequal_length_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        speed_ratio(seconds(1, 2), seconds(1), clock="cpu")


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (Interval(1.5, 1.2, 1.8), "faster"),
        (Interval(0.5, 0.4, 0.6), "slower"),
        (Interval(1.5, 0.9, 1.8), "not distinguishable"),
        (Interval(0.9, 0.8, 1.0), "not distinguishable"),
        (Interval(1.0, 1.0, 1.0), "not distinguishable"),
    ],
)
def test_a_difference_is_claimed_only_if_the_interval_excludes_one(ratio, said):
    assert verdict(ratio) == said


def false_claims(find_interval: Callable[[list[float]], Interval], *, runs: int = 1000) -> float:
    """The share of A/A runs of 10 pairs, on a noisy machine, in which a difference is claimed."""
    generator = np.random.default_rng(0)
    claims = 0
    for _ in range(runs):
        pairs = zip(noisy(generator), noisy(generator))
        ratios = [slow.per_image("cpu") / fast.per_image("cpu") for slow, fast in pairs]
        claims += find_interval(ratios).excludes(1.0)
    return claims / runs


def test_equal_contenders_on_a_noisy_machine_are_told_apart_in_less_than_one_of_twenty_runs():
    assert false_claims(interval) <= 0.05


def test_an_interval_one_order_statistic_narrower_would_claim_too_much():
    assert false_claims(lambda ratios: Interval(1.0, sorted(ratios)[2], sorted(ratios)[-3])) > 0.07


def test_a_contender_that_takes_two_thirds_is_told_apart_where_one_epoch_in_twenty_is_disturbed():
    generator = np.random.default_rng(0)
    pairs = [(noisy(generator, disturbed=0.05), noisy(generator, disturbed=0.05)) for _ in range(50)]
    faster = [(slow, [Sample(run.wall / 1.5, run.cpu / 1.5, run.images) for run in fast]) for slow, fast in pairs]
    claims = sum(verdict(speed_ratio(*pair, clock="cpu")) == "faster" for pair in faster)
    assert claims >= 0.8 * len(pairs)


def turns(*, seed: int = 0) -> list[tuple[int, str, int]]:
    """(block, name, epoch) of every run."""
    ran: list[int] = []

    def contender(epoch: int) -> Sample:
        ran.append(epoch)
        return seconds(1.0)[0]

    names = "abcd"
    first_epochs = {name: 10 * index for index, name in enumerate(names)}
    taken = interleave(dict.fromkeys(names, contender), blocks=BLOCKS, first_epochs=first_epochs, seed=seed)
    return [(block, name, ran[-1]) for block, name, _ in taken]


def test_every_contender_runs_once_a_block():
    blocks = [sorted(name for block, name, _ in turns() if block == number) for number in range(BLOCKS)]
    assert blocks == [list("abcd")] * BLOCKS
    assert [block for block, _, _ in turns()] == sorted(list(range(BLOCKS)) * 4)


def test_the_order_is_drawn_anew_for_each_block():
    names = [name for _, name, _ in turns()]
    orders = {tuple(names[start : start + 4]) for start in range(0, len(names), 4)}
    firsts = {order[0] for order in orders}
    assert len(orders) > BLOCKS / 2
    assert len(firsts) > 1


def test_the_order_follows_the_seed():
    assert turns(seed=1) == turns(seed=1)
    assert turns(seed=1) != turns(seed=2)


def test_each_contender_goes_through_its_own_epochs():
    assert [epoch for _, name, epoch in turns() if name == "c"] == list(range(20, 20 + BLOCKS))


def warm_ups(*cpu: float) -> int:
    """The runs that a contender with these times needs."""
    asked: list[int] = []

    def run(epoch: int) -> Sample:
        asked.append(epoch)
        return Sample(wall=1.0, cpu=cpu[epoch], images=1)

    needed = warm_up(run)
    assert asked == list(range(needed))
    return needed


def test_the_warm_up_ends_when_two_runs_agree():
    assert warm_ups(9.0, 9.1) == 2
    assert warm_ups(9.0, 3.0, 1.0, 1.02) == 4
    assert warm_ups(9.0, 1.0, 1.0) == 3


def test_the_warm_up_ends_at_its_limit():
    assert warm_ups(16.0, 8.0, 4.0, 2.0) == timing.WARM_UPS[1] == 4


def test_a_run_that_got_slower_is_not_steady():
    assert warm_ups(1.0, 2.0, 4.0, 8.0) == 4


@pytest.mark.parametrize("epochs", [1, 4])
def test_the_wait_for_data_is_a_share_of_one_epoch_however_many_a_sample_holds(epochs):
    worker = SimpleNamespace(profile=lambda *, batch_size: {"data": {"wall": 0.5, "cpu": 0.25}})
    contender = Contender(worker, Evidence([], ""), (), list)  # type: ignore[arg-type]
    session = TimingSession(
        name="", contenders={"a": contender}, floors={}, baseline="a", clock="cpu", images=100, batch_size=10
    )
    row = session._profile("a", {"a": seconds(epochs, images=100 * epochs)})
    assert row["data_wait_fraction"] == pytest.approx(0.5)
