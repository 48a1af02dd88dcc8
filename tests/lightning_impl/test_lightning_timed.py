"""The benchmark's two Lightning routes against core_torch's: the same weights, bit for bit, on the CPU.

In float64 both are the oracle's to rounding: every layer, loss, gradient, step and state.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from benchmarks.ports import core_torch as route_core_torch
from benchmarks.ports import lightning as route_lightning
from benchmarks.ports.frameworks import RECIPE
from benchmarks.ports.per_image import PerImageDataset
from benchmarks.ports.timed_port import Case
from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import load_split, to_unit_range
from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.architecture import ARCHITECTURES, Architecture, Convolutional, FullyConnected, describe
from core_torch.spec.errors import ConfigError
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.recipe import Recipe

SPLIT = load_split("digits").take(np.arange(500))
ROWS = to_unit_range(SPLIT.images).reshape(len(SPLIT), -1)
FIRST, SECOND = ROWS[:64], ROWS[64:96]
ROUTES = [("lean", "lean"), ("default", "tutorial")]


def lightning(route: str = "lean", model: str = "shallow") -> route_lightning.TimedLightning:
    return route_lightning.prepare(case("lightning", route, model), SPLIT, RECIPE)


def core(route: str = "lean", model: str = "shallow") -> route_core_torch.TimedTorch:
    return route_core_torch.prepare(case("core_torch", route, model), SPLIT, RECIPE)


def case(framework: str, route: str, model: str) -> Case:
    return Case(framework=framework, variant=route, model=model, batch_size=64)


def equal(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("model", ["shallow", "conv-shallow"])
@pytest.mark.parametrize(("route", "reference"), ROUTES)
def test_epochs_leave_the_same_weights(route: str, reference: str, model: str) -> None:
    results = []
    for trial in (lightning(route, model), core(reference, model)):
        torch.manual_seed(1)  # the DataLoader shuffles by it
        assert [trial.epoch(epoch) for epoch in (0, 1)] == [len(SPLIT)] * 2
        results.append(trial.weights())
    assert equal(*results)


def test_an_epoch_of_another_number_leaves_other_weights() -> None:
    one, other = lightning(), lightning()
    one.epoch(0)
    other.epoch(1)
    assert not equal(one.weights(), other.weights())


@pytest.mark.parametrize("model", ["shallow", "deep", "conv-shallow"])
def test_steps_agree_one_by_one(model: str) -> None:
    one, other = lightning(model=model), core(model=model)
    assert equal(one.activations(FIRST), other.activations(FIRST))
    for batch in (FIRST, SECOND):
        losses, gradients = zip(*(trial.loss_and_gradients(batch, batch) for trial in (one, other)))
        assert losses[0] == losses[1]
        assert equal(*gradients)
        assert one.step(batch, batch) == losses[0]
        other.step(batch, batch)
        assert equal(one.weights(), other.weights())


def test_loss_and_gradients_change_nothing() -> None:
    one, other = lightning(), lightning()
    for trial in (one, other):
        trial.step(FIRST, FIRST)
    before = one.weights()
    one.loss_and_gradients(SECOND, SECOND)
    assert equal(one.weights(), before)
    assert one.step(SECOND, SECOND) == other.step(SECOND, SECOND)
    assert equal(one.weights(), other.weights())


def restart(trial: route_lightning.TimedLightning) -> None:
    trial.load(initial_weights(ARCHITECTURES["shallow"], seed=RECIPE.seed))


def restart_with_momentum(trial: route_lightning.TimedLightning) -> None:
    kept = trial.lit.kept
    restart(trial)
    trial.lit.kept = kept


@pytest.mark.parametrize(("again", "same"), [(restart, True), (restart_with_momentum, False)])
def test_load_forgets_the_momentum(again: Callable, same: bool) -> None:
    trial = lightning()
    trial.step(FIRST, FIRST)
    once = trial.weights()
    again(trial)
    trial.step(FIRST, FIRST)
    assert equal(trial.weights(), once) is same


DENSE = FullyConnected(widths=(784, 12, 5), hidden_activation="tanh", code_activation="sigmoid")
SMOOTH = {"hidden_activation": "tanh", "code_activation": "silu"}
POOLED = Convolutional(filters=(2, 3), kernel_sizes=(3, 2), code_width=4, **SMOOTH)
RECIPES = {
    "sgd": RECIPE.with_changes(momentum=0.0),
    "nesterov": RECIPE.with_changes(nesterov=True),
    "adam": Recipe(optimizer="adam", learning_rate=0.01, epsilon=1e-3),
    "adamw": Recipe(optimizer="adamw", learning_rate=0.01, epsilon=1e-3, weight_decay=0.1),
    "contractive": RECIPE.with_changes(objective="contractive", contraction=0.5),
}
PREPARE = {"core_torch": route_core_torch.prepare, "lightning": route_lightning.prepare}
ROUNDING = 1e-11  # relative, of a float64 model after three steps


def exact_trial(framework: str, architecture: Architecture, recipe: Recipe):
    """In float64, of an architecture that has no name."""
    described = Case(framework=framework, model=describe(architecture), batch_size=8, dtype="float64")
    return PREPARE[framework](described, SPLIT, recipe)


def oracle_trial(architecture: Architecture, recipe: Recipe) -> OracleOptimizer:
    return OracleOptimizer(Oracle(architecture, initial_weights(architecture, seed=recipe.seed)), recipe)


def distance(one: Arrays, other: Arrays) -> float:
    """The largest relative distance; both must hold the same names."""
    assert one.keys() == other.keys()
    return max(
        (float(np.linalg.norm(one[name].ravel() - other[name].ravel()) / np.linalg.norm(other[name])) for name in one),
        default=0.0,
    )


@pytest.mark.parametrize("architecture", [DENSE, POOLED], ids=["dense", "pooled"])
@pytest.mark.parametrize("framework", PREPARE)
def test_activations_are_the_oracle_s_layer_by_layer(framework: str, architecture: Architecture) -> None:
    trial, oracle = exact_trial(framework, architecture, RECIPE), oracle_trial(architecture, RECIPE).oracle
    found, expected = trial.activations(FIRST), oracle.activations(FIRST)
    assert distance(found, expected) < ROUNDING
    assert {array.dtype for array in found.values()} == {np.dtype(np.float64)}
    assert all(found[name].shape == expected[name].shape for name in found if name != "input")
    assert distance(trial.activations(FIRST[::-1].copy()), expected) > 1e-3


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("framework", PREPARE)
def test_three_steps_with_a_new_rate_are_the_oracle_s(framework: str, name: str) -> None:
    recipe = RECIPES[name]
    trial, expected, unchanged = exact_trial(framework, POOLED, recipe), *(oracle_trial(POOLED, recipe) for _ in "ab")
    for number in range(3):
        if number == 1:
            trial.set_learning_rate(recipe.learning_rate / 4)
            expected.learning_rate = recipe.learning_rate / 4
        batch = ROWS[8 * number : 8 * number + 8]
        loss, gradients = trial.loss_and_gradients(batch, batch)
        assert loss == pytest.approx(expected.oracle.loss(batch, batch, contraction=expected.contraction), rel=ROUNDING)
        assert distance(gradients, expected.gradients(batch, batch)[1]) < ROUNDING
        assert trial.step(batch, batch) == loss
        expected.step(batch, batch)
        unchanged.step(batch, batch)
    assert distance(trial.weights(), expected.oracle.weights) < ROUNDING
    assert distance(trial.weights(), unchanged.oracle.weights) > 1e-4
    assert distance(trial.optimizer_state(), expected.state) < ROUNDING


@pytest.mark.parametrize("framework", PREPARE)
def test_a_contractive_trial_has_the_whole_penalty(framework: str) -> None:
    trial, oracle = exact_trial(framework, DENSE, RECIPES["contractive"]), oracle_trial(DENSE, RECIPE).oracle
    inputs, targets = SECOND, SECOND[::-1].copy()
    loss, gradients = trial.loss_and_gradients(inputs, targets)
    for contraction, same in ((0.5, True), (0.0, False)):
        expected = oracle.gradients(inputs, targets, contraction=contraction)
        assert (loss == pytest.approx(expected[0], rel=ROUNDING)) is same
        assert (distance(gradients, expected[1]) < ROUNDING) is same


@pytest.mark.parametrize("framework", PREPARE)
def test_load_puts_the_learning_rate_and_the_state_back(framework: str) -> None:
    trial = exact_trial(framework, DENSE, RECIPES["adam"])
    assert trial.optimizer_state() == {}
    start = trial.weights()
    trial.step(FIRST, FIRST)
    once = trial.weights()
    trial.set_learning_rate(1.0)
    trial.load(start)
    assert trial.optimizer_state() == {}
    trial.step(FIRST, FIRST)
    assert equal(trial.weights(), once)


def test_an_epoch_prints_and_leaves_nothing(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    lightning("default").epoch(0)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_an_unknown_route_is_refused() -> None:
    with pytest.raises(ConfigError, match="variant"):
        lightning("fast")


def test_per_image_samples_are_the_resident_dataset_s() -> None:
    slow, fast = PerImageDataset(SPLIT), ResidentDataset(SPLIT)
    assert len(slow) == len(fast)
    for index in range(0, len(SPLIT), 50):
        assert torch.equal(slow[index][0], fast[index][0])
        assert slow[index][1] == fast[index][1]
    assert not torch.equal(slow[0][0], fast[1][0])


@pytest.mark.mnist
def test_per_image_samples_are_torchvision_s(mnist_root: Path) -> None:
    ours, theirs = PerImageDataset(load_split("mnist", root=mnist_root)), MNIST(mnist_root, transform=ToTensor())
    for index in range(0, len(theirs), 6001):
        assert torch.equal(ours[index][0], theirs[index][0])
        assert ours[index][1] == theirs[index][1]
