"""Sixty-four models at once do what one does, sixty-four times; where no GPU is, nobody is timed so."""

import numpy as np
import pytest
import torch

from benchmarks.cases import AT_ONCE, RECIPE, TOGETHER, routes_of
from benchmarks.epoch_agreement import EpochJudge
from benchmarks.route_core_torch import TorchTrial, prepare
from benchmarks.trial import Case
from core_torch.contract.pixels import Split

SMALL = RECIPE.with_changes(batch_size=32)
CASE = Case(framework="core_torch", route=AT_ONCE, batch_size=32)


@pytest.fixture(scope="module")
def judge(digits: Split) -> EpochJudge:
    return EpochJudge("digits", "shallow", digits.take(np.arange(100)), SMALL)


@pytest.fixture
def trial(digits: Split) -> TorchTrial:
    return prepare(CASE, digits.take(np.arange(100)), SMALL)


def test_an_epoch_of_many_is_the_oracle_s_and_the_same_in_all(trial, judge):
    assert [check.passed for check in judge.check(trial, CASE)] == [True]
    assert all(bool((stack == stack[:1]).all()) for stack in trial.together.weights.values())
    assert {len(stack) for stack in trial.together.weights.values()} == {TOGETHER}


def test_another_rate_is_found_and_so_is_a_model_that_starts_elsewhere(trial, judge):
    trial.load(judge.start)
    trial.load = lambda weights: trial.set_learning_rate(0.9)
    assert [check.passed for check in judge.check(trial, CASE)] == [False]
    with torch.no_grad():
        trial.together.weights["encoder.0.bias"][5] += 1
    trial.epoch(0)
    assert not all(bool((stack == stack[:1]).all()) for stack in trial.together.weights.values())


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
    assert AT_ONCE in routes_of("core_torch", model="shallow", device="cuda:0")
    assert AT_ONCE not in routes_of("core_torch", model="shallow")
    assert AT_ONCE not in routes_of("core_torch", model="shallow", optimizer="adam", device="cuda")
