"""An epoch is called different only beyond what rounding alone does to it, and a wrong epoch stays wrong."""

import numpy as np
import pytest

from benchmarks.ports import epoch_agreement
from benchmarks.ports.epoch_agreement import EpochReference, rows
from benchmarks.ports.frameworks import RECIPE
from benchmarks.ports.timed_port import Case
from core_torch.files.splits import Split
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.batch_order import batch_order
from core_torch.spec.recipe import Recipe

CASE = Case(framework="core_torch")
ORDERS = 6  # right programs, each with its own order of summation


class Port:
    """The float32 oracle, the images of a batch in an order of its own."""

    optimizer = OracleOptimizer

    def __init__(self, judge: EpochReference, recipe: Recipe, *, order: int) -> None:
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
        self.optimizer(self.oracle, self.recipe).train(self.judge.images, shuffled)
        return len(self.judge.images)


def passes(judge: EpochReference, recipe: Recipe, *, order: int = 1) -> bool:
    return all(check.passed for check in judge.check(Port(judge, recipe, order=order), CASE))


SIDE = 1e-5  # of the unit's input, which rounding alone moves by less than 1e-6
UNIT = 3


def optimizer_at_a_kink(image: np.ndarray) -> type[OracleOptimizer]:
    """One whose first step ends beside the kink of `UNIT` for `image`: on which side, the order of its batch decides.

    So does rounding in a right program; but every processor rounds differently, and this is the same on all.
    """

    class AtAKink(OracleOptimizer):
        def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
            loss = super().step(inputs, targets)
            if self.steps == 1:
                weight, bias = self.oracle.weights["encoder.0.weight"], self.oracle.weights["encoder.0.bias"]
                side = SIDE if inputs[0].sum() > inputs[1].sum() else -SIDE
                bias[UNIT] = side - weight[UNIT] @ image
            return loss

    return AtAKink


def test_a_unit_that_rounding_decides_does_not_reject_a_right_program(digits: Split, monkeypatch: pytest.MonkeyPatch):
    """Half of all orders of summation take that unit's input for positive, and the judge finds that out."""
    recipe = RECIPE.with_changes(batch_size=64, learning_rate=10.0)
    split = digits.take(np.arange(128))
    _, second = batch_order(len(split), recipe.batch_size, seed=recipe.seed, epoch=0)
    optimizer = optimizer_at_a_kink(rows(split)[second[0]])
    monkeypatch.setattr(epoch_agreement, "OracleOptimizer", optimizer)
    monkeypatch.setattr(Port, "optimizer", optimizer)
    judge = EpochReference("epoch", "shallow", split, recipe)
    own = judge.budget
    assert all(passes(judge, recipe, order=order) for order in range(ORDERS))
    assert judge.budget > 10 * own
    monkeypatch.setattr(epoch_agreement, "SECOND_LOOKS", 0)
    judge.budget = own
    assert {passes(judge, recipe, order=order) for order in range(ORDERS)} == {True, False}  # the twin: no second look


def test_a_second_look_excuses_no_wrong_rate(digits: Split):
    recipe = RECIPE.with_changes(batch_size=200)
    judge = EpochReference("epoch", "shallow", digits, recipe)
    assert passes(judge, recipe)
    assert not passes(judge, recipe.with_changes(learning_rate=1.0001))


def test_an_own_shuffle_may_differ_as_shuffles_do(digits: Split):
    recipe = RECIPE.with_changes(batch_size=32)
    judge = EpochReference("epoch", "shallow", digits, recipe)
    case = Case(framework="core_torch", variant="tutorial")
    for seed in (7, 8, 9):
        port = Port(judge, recipe.with_changes(seed=seed), order=1)
        assert all(check.passed for check in judge.check(port, case)), seed
    for wrong in (recipe.with_changes(learning_rate=2.0), recipe.with_changes(batch_size=64, learning_rate=10.0)):
        assert not all(check.passed for check in judge.check(Port(judge, wrong, order=1), case))
