"""Sixty-four models at once do what one does, sixty-four times; where no GPU is, nobody is timed so."""

import numpy as np
import pytest
import torch

from benchmarks.ports.core_torch import TimedTorch, prepare
from benchmarks.ports.epoch_agreement import EpochReference
from benchmarks.ports.frameworks import ENSEMBLE, ENSEMBLE_SIZE, RECIPE, choose_variants
from benchmarks.ports.timed_port import Case
from core_torch.files.splits import Split

SMALL = RECIPE.with_changes(batch_size=32)
CASE = Case(framework="core_torch", variant=ENSEMBLE, batch_size=32)


@pytest.fixture(scope="module")
def judge(digits: Split) -> EpochReference:
    return EpochReference("digits", "shallow", digits.take(np.arange(100)), SMALL)


@pytest.fixture
def trial(digits: Split) -> TimedTorch:
    return prepare(CASE, digits.take(np.arange(100)), SMALL)


def test_an_epoch_of_many_is_the_oracle_s(trial, judge):
    assert [check.passed for check in judge.check(trial, CASE)] == [True]
    assert {len(stack) for stack in trial.ensemble.weights.values()} == {ENSEMBLE_SIZE}


def test_another_rate_is_found(trial, judge):
    trial.load(judge.start)
    trial.load = lambda weights: trial.set_learning_rate(0.9)
    assert [check.passed for check in judge.check(trial, CASE)] == [False]


@pytest.mark.parametrize("number", [0, 1, ENSEMBLE_SIZE - 1])
def test_each_of_many_is_one_alone_in_an_order_of_its_own(trial, digits, judge, number):
    recipe = SMALL.with_changes(seed=SMALL.seed + number)
    alone = prepare(Case(framework="core_torch", batch_size=32), digits.take(np.arange(100)), recipe)
    for each in (alone, trial):
        each.load(judge.start)
        each.epoch(0)

    def is_alone(place: int) -> bool:
        pairs = zip(trial.ensemble.weights.values(), alone.model.parameters(), strict=True)
        return all(torch.allclose(stack[place], own, rtol=1e-4, atol=1e-6) for stack, own in pairs)

    assert [place for place in range(ENSEMBLE_SIZE) if is_alone(place)] == [number]


def test_a_step_of_many_is_a_step_of_one(trial, digits, judge):
    one = prepare(Case(framework="core_torch", batch_size=32), digits.take(np.arange(100)), SMALL)
    for each in (one, trial):
        each.load(judge.start)
        each.set_learning_rate(0.5)
    losses = [each.step(judge.images[:32], judge.images[:32]) for each in (one, trial) for _ in range(2)]
    assert losses[2:] == pytest.approx(losses[:2], rel=1e-5)
    for mine, theirs in ((one.weights(), trial.weights()), (one.optimizer_state(), trial.optimizer_state())):
        assert mine.keys() == theirs.keys()
        assert all(np.allclose(mine[name], theirs[name], rtol=1e-4, atol=1e-7) for name in mine)


def test_they_are_timed_on_a_gpu_alone():
    assert ENSEMBLE in choose_variants("core_torch", model="shallow", device="cuda:0")
    assert ENSEMBLE not in choose_variants("core_torch", model="shallow")
    assert ENSEMBLE not in choose_variants("core_torch", model="shallow", optimizer="adam", device="cuda")
