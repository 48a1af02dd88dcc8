"""An epoch is called different only beyond what rounding alone does to it, and a wrong epoch stays wrong."""

import os

import numpy as np
import pytest

from benchmarks.cases import RECIPE
from benchmarks.epoch_agreement import EpochJudge
from benchmarks.trial import Case
from core_torch.contract.batch_order import batch_order
from core_torch.contract.oracle import Oracle
from core_torch.contract.oracle_optimizer import OracleOptimizer
from core_torch.contract.pixels import Split, load_split
from core_torch.contract.recipe import Recipe

CASE = Case(framework="core_torch")
ORDERS = 6  # right programs, each with its own order of summation


class Port:
    """The float32 oracle, the images of a batch in an order of its own."""

    def __init__(self, judge: EpochJudge, recipe: Recipe, *, order: int) -> None:
        self.judge, self.recipe, self.generator = judge, recipe, np.random.default_rng(order)

    def load(self, weights: dict[str, np.ndarray]) -> None:
        self.oracle = Oracle(self.judge.architecture, weights, dtype=np.float32)

    def activations(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        return self.oracle.activations(inputs)

    def weights(self) -> dict[str, np.ndarray]:
        return self.oracle.weights

    def epoch(self, epoch: int) -> int:
        order = batch_order(len(self.judge.images), self.recipe.batch_size, seed=self.recipe.seed, epoch=epoch)
        shuffled = (self.generator.permutation(batch) for batch in order)
        OracleOptimizer(self.oracle, self.recipe).train(self.judge.images, shuffled)
        return len(self.judge.images)


def passes(judge: EpochJudge, recipe: Recipe, *, order: int = 1) -> bool:
    return all(check.passed for check in judge.check(Port(judge, recipe, order=order), CASE))


@pytest.mark.mnist
def test_a_unit_that_rounding_decides_does_not_reject_a_right_program():
    """With this batch size one ReLU input of the epoch is zero to rounding: half of all orders take it for positive."""
    if not os.environ.get("MNIST_ROOT"):
        pytest.skip("set MNIST_ROOT to a folder with the real MNIST files")
    split = load_split("mnist").take(np.arange(12_800))
    recipe = RECIPE.with_changes(batch_size=500)
    budgets = []
    for order in range(ORDERS):
        judge = EpochJudge("epoch", "shallow", split, recipe)
        first = judge.budget
        assert passes(judge, recipe, order=order)
        budgets.append(judge.budget / first)
    assert max(budgets) > 2, "no order met the kink, so nothing was shown"


def test_a_second_look_excuses_no_wrong_rate(digits: Split):
    recipe = RECIPE.with_changes(batch_size=200)
    judge = EpochJudge("epoch", "shallow", digits, recipe)
    assert passes(judge, recipe)
    assert not passes(judge, recipe.with_changes(learning_rate=1.0001))


def test_an_own_shuffle_may_differ_as_shuffles_do(digits: Split):
    recipe = RECIPE.with_changes(batch_size=32)
    judge = EpochJudge("epoch", "shallow", digits, recipe)
    case = Case(framework="core_torch", route="tutorial")
    for seed in (7, 8, 9):
        port = Port(judge, recipe.with_changes(seed=seed), order=1)
        assert all(check.passed for check in judge.check(port, case)), seed
    for wrong in (recipe.with_changes(learning_rate=2.0), recipe.with_changes(batch_size=64)):
        assert not all(check.passed for check in judge.check(Port(judge, wrong, order=1), case))
