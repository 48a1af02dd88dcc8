"""The Keras port against the float64 oracle, on every backend, each in a process of its own.

Such a process runs `work`: it reads weights from a folder and writes what Keras made of them beside. The tests, which
import no framework, are the judge.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ports.timed_port import Case
from core_torch.files.splits import load_split, to_unit_range
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.architecture import Architecture, Convolutional, FullyConnected, describe
from core_torch.spec.batch_order import batch_order
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.recipe import Recipe

SGD = Recipe(optimizer="sgd", learning_rate=0.5, momentum=0.9, validation_fraction=0)
NESTEROV = SGD.with_changes(nesterov=True)
# So large an epsilon that where it is added matters in every weight.
ADAM = Recipe(learning_rate=2e-3, epsilon=1e-4, validation_fraction=0)
ADAMW = ADAM.with_changes(optimizer="adamw", weight_decay=0.5)
CONTRACTIVE = SGD.with_changes(objective="contractive", contraction=0.05, learning_rate=0.1)
# Smooth, so that no rounding can push a unit over a kink; large enough for every trap of a layout.
ARCHITECTURES: dict[str, Architecture] = {
    # Square, so that a weight put in transposed has the right shape.
    "shallow": FullyConnected(widths=(64, 64), code_activation="silu", bias=False),
    "sigmoid": FullyConnected(widths=(64, 12), code_activation="sigmoid"),
    "tied": FullyConnected(widths=(64, 16, 8), hidden_activation="tanh", code_activation="sigmoid", tied=True),
    "deep": FullyConnected(widths=(64, 32, 16, 8), hidden_activation="silu", code_activation="linear"),
    "deep-relu": FullyConnected(widths=(64, 32, 8), code_activation="tanh"),
    "randomized": FullyConnected(widths=(64, 24, 24), bias=False, output_activation="linear"),
    "conv-strided": Convolutional(
        side=10, filters=(3,), kernel_sizes=(4,), strides=(3,), pool_every=0, code_width=6, hidden_activation="tanh"
    ),
    # Two channels, an even kernel, an odd side that pooling cuts, and a convolution without pooling.
    "conv-deep": Convolutional(
        side=13,
        channels=2,
        filters=(2, 3),
        kernel_sizes=(4, 3),
        pool_every=2,
        code_width=8,
        hidden_activation="silu",
        code_activation="linear",
    ),
}
STEPS = 10
BATCH_SIZE = 32  # images
RATE_DROP = 0.2  # of the learning rate, from the sixth step on
# In float32, as relative L2 distances; layers by their largest difference, relative to 1 or their largest value.
LIMITS = {"layers": 1e-6, "loss": 1e-5, "gradients": 1e-5, "update": 1e-4, "state": 1e-4}
FLOAT64_LIMIT = 1e-12
EPOCH_IMAGES = 150  # for batches of 64: two full ones and a short one


@dataclass(frozen=True)
class Run:
    """Ten steps from trained weights."""

    model: str
    recipe: Recipe = SGD
    drops_rate: bool = False
    route: str = "lean"


RUNS = {
    **{name: Run(name) for name in ("shallow", "tied", "deep", "randomized", "conv-strided", "conv-deep")},
    "fit": Run("deep", route="fit"),
    "denoising": Run("deep", SGD.with_changes(objective="denoising")),
    "contractive": Run("sigmoid", CONTRACTIVE),
    "contractive tied": Run("tied", CONTRACTIVE, route="fit"),
    "contractive fit": Run("sigmoid", CONTRACTIVE, route="fit"),
    "contractive silu": Run("shallow", CONTRACTIVE),
    "contractive deep": Run("deep", CONTRACTIVE),
    "contractive relu": Run("deep-relu", CONTRACTIVE),
    "contractive strided": Run("conv-strided", CONTRACTIVE),
    "contractive pooled": Run("conv-deep", CONTRACTIVE),
    "momentum": Run("deep", SGD, drops_rate=True),
    "nesterov": Run("deep", NESTEROV, drops_rate=True, route="fit"),
    "adam": Run("deep", ADAM, drops_rate=True),
    "adamw": Run("deep", ADAMW, drops_rate=True),
}
FLOAT64_RUNS = ("conv-deep", "fit", "contractive pooled", "nesterov", "adamw")


def images_for(architecture: Architecture) -> np.ndarray:
    """(600, pixels) float32: runs of pixels out of the middle of real digits."""
    pixels = int(np.prod(architecture.input_shape))
    digits = to_unit_range(load_split("digits").images[:600]).reshape(600, -1)
    start = (digits.shape[1] - pixels) // 2
    return digits[:, start : start + pixels]


def batches_for(run: Run) -> list[tuple[np.ndarray, np.ndarray]]:
    """(inputs, targets) of each step."""
    images = images_for(ARCHITECTURES[run.model])
    noise = np.random.default_rng(0).normal(0, 0.2, images.shape)
    inputs = np.clip(images + noise, 0, 1).astype(np.float32) if run.recipe.objective == "denoising" else images
    return [(inputs[rows], images[rows]) for rows in [*batch_order(len(images), BATCH_SIZE)][:STEPS]]


# ---- The process of one backend -----------------------------------------------------------------------------------


def work(folder: Path) -> None:
    """Everything the tests judge, on the backend of this process."""
    import keras

    for name, run in RUNS.items():
        trial = make_trial(run)
        write(folder, name, take_steps(trial, run, folder))
        if name == "conv-deep":
            with patched("flatten_boundaries", lambda architecture: {}):
                write(folder, "flattened wrongly", take_steps(trial, run, folder))
        if name == "shallow":
            with patched("AXES", {1: (0,), 2: (0, 1)}):
                write(folder, "dense transposed", take_steps(trial, run, folder))
        if name in ("momentum", "nesterov"):
            trial.set_learning_rate = lambda rate, trial=trial: setattr(trial.trained.optimizer, "learning_rate", rate)
            write(folder, f"{name}, Keras's own", take_steps(trial, run, folder))
        if name in ("deep", "conv-strided"):
            epoch = make_trial(run, batch_size=64)
            epoch.epoch(1)
            write(folder, f"{name} epoch", epoch.weights())
    write_stock_adam(folder)
    write_own_shuffle(folder)
    if keras.backend.backend() == "tensorflow":
        for name in FLOAT64_RUNS:
            trial = make_trial(RUNS[name], dtype="float64")
            write(folder, f"{name} float64", take_steps(trial, RUNS[name], folder, dtype="float64"))


def make_trial(run: Run, *, batch_size: int = BATCH_SIZE, dtype: str = "float32") -> Any:
    from benchmarks.ports.keras import TimedKeras

    architecture = ARCHITECTURES[run.model]
    case = Case(framework="", variant=run.route, model=describe(architecture), batch_size=batch_size, dtype=dtype)
    return TimedKeras(case, images_for(architecture)[:EPOCH_IMAGES], run.recipe)


def take_steps(trial: Any, run: Run, folder: Path, *, dtype: str = "float32") -> dict[str, Any]:
    """What the oracle's `true_steps` records, and the weights as they came back after loading."""
    start = {name: array.astype(dtype) for name, array in read(folder, f"{run.model} weights").items()}
    trial.load(start)
    found = prefixed("loaded/", trial.weights())
    for step, (inputs, targets) in enumerate(batches_for(run)):
        inputs, targets = inputs.astype(dtype), targets.astype(dtype)
        if step == 0:
            if run is RUNS.get(run.model):
                found |= prefixed("layers/", trial.activations(inputs))
            loss, gradients = trial.loss_and_gradients(inputs, targets)
            found |= {"loss/first": loss} | prefixed("gradients/", gradients)
        if step == 5 and run.drops_rate:
            trial.set_learning_rate(run.recipe.learning_rate * RATE_DROP)
        found[f"loss/{step}"] = trial.step(inputs, targets)
    found |= prefixed("update/", {name: array.astype(float) - start[name] for name, array in trial.weights().items()})
    return found | prefixed("state/", trial.optimizer_state())


@contextmanager
def patched(name: str, value: Any) -> Iterator[None]:
    """A name of the weight layout, replaced."""
    from core_torch.spec import channels_last

    right = getattr(channels_last, name)
    setattr(channels_last, name, value)
    yield
    setattr(channels_last, name, right)


def write_stock_adam(folder: Path) -> None:
    """The run "adam" with Keras's own."""
    import keras

    from keras_impl import candidate

    right = candidate.build_optimizer
    candidate.build_optimizer = lambda recipe: keras.optimizers.Adam(recipe.learning_rate, epsilon=recipe.epsilon)
    write(folder, "adam, Keras's own", take_steps(make_trial(RUNS["adam"]), RUNS["adam"], folder))
    candidate.build_optimizer = right


def write_own_shuffle(folder: Path) -> None:
    """Routes that shuffle by themselves: steps taken in an epoch; and, in one batch of all, the update."""
    import keras

    found: dict[str, Any] = {}
    for route in ("fit", "tf.data") if keras.backend.backend() == "tensorflow" else ("fit",):
        trial = make_trial(Run("deep", route=route), batch_size=64)
        trial.epoch(0)
        found[f"{route}/steps"] = int(trial.trained.optimizer.iterations)
        whole = make_trial(Run("deep", route=route), batch_size=EPOCH_IMAGES)
        whole.epoch(0)
        found |= prefixed(f"{route}/", whole.weights())
    write(folder, "own shuffle", found)


def read(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz", allow_pickle=False) as stored:
        return dict(stored)


def write(folder: Path, name: str, arrays: dict[str, Any]) -> None:
    np.savez(folder / f"{name}.npz", **arrays)


def prefixed(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names start so, without that start."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


# ---- The judge ----------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """What `work` reads."""
    for name, weights in trained_weights().items():
        write(folder, f"{name} weights", weights)


@pytest.fixture(scope="module")
def starts() -> dict[str, dict[str, np.ndarray]]:
    return trained_weights()


@cache
def trained_weights() -> dict[str, dict[str, np.ndarray]]:
    """They alone make a wrong flatten order, or a weight left out, matter."""
    found = {}
    for name, architecture in ARCHITECTURES.items():
        oracle = Oracle(architecture, initial_weights(architecture), dtype=np.float32)
        order = (rows for epoch in range(6) for rows in batch_order(600, BATCH_SIZE, epoch=epoch))
        OracleOptimizer(oracle, Recipe(learning_rate=3e-3)).train(images_for(architecture), order)
        found[name] = oracle.weights
    return found


@pytest.fixture(scope="module")
def truths(starts) -> dict[str, dict[str, Any]]:
    return {name: true_steps(run, starts[run.model]) for name, run in RUNS.items()}


def true_steps(run: Run, start: dict[str, np.ndarray]) -> dict[str, Any]:
    """Activations, loss and gradients before the first step; losses; change of weights, and state, after the last."""
    oracle = Oracle(ARCHITECTURES[run.model], start)
    optimizer = OracleOptimizer(oracle, run.recipe)
    batches = batches_for(run)
    true = prefixed("layers/", oracle.activations(batches[0][0]) | {"input": batches[0][0]})
    true["loss/first"], gradients = optimizer.gradients(*batches[0])
    true |= prefixed("gradients/", gradients)
    for step, (inputs, targets) in enumerate(batches):
        if step == 5 and run.drops_rate:
            optimizer.learning_rate *= RATE_DROP
        true[f"loss/{step}"] = optimizer.step(inputs, targets)
    true |= prefixed("update/", {name: array - start[name] for name, array in oracle.weights.items()})
    return true | prefixed("state/", optimizer.state)


def distance(found: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> float:
    """||found - truth|| / ||truth|| over all arrays together; infinite where names or shapes differ."""
    if {name: np.shape(array) for name, array in found.items()} != {n: np.shape(a) for n, a in truth.items()}:
        return np.inf
    squares = sum(np.sum((np.float64(found[name]) - truth[name]) ** 2) for name in truth)
    return float(np.sqrt(squares / sum(np.sum(np.square(array)) for array in truth.values())))


def differences(found: dict[str, np.ndarray], truth: dict[str, Any]) -> dict[str, float]:
    """{level: how far apart}; of layers, gradients and losses the worst, of updates and state all together."""
    shown = part(found, "layers/")
    scales = {name: max(1.0, np.abs(truth[f"layers/{name}"]).max()) for name in shown}
    layers = {name: np.abs(array - truth[f"layers/{name}"]).max() / scales[name] for name, array in shown.items()}
    each = {kind: set(part(found, kind)) | set(part(truth, kind)) for kind in ("gradients/", "loss/")}
    worst = {
        kind: max(distance(part(found, f"{kind}{name}"), part(truth, f"{kind}{name}")) for name in names)
        for kind, names in each.items()
    }
    kinds = {name.split("/")[1] for name in truth if name.startswith("state/")}
    states = [distance(part(found, f"state/{kind}"), part(truth, f"state/{kind}")) for kind in kinds]
    return {
        "layers": max(layers.values(), default=0.0),
        "loss": worst["loss/"],
        "gradients": worst["gradients/"],
        "update": distance(part(found, "update/"), part(truth, "update/")),
        "state": max(states, default=0.0),
    }


def failures(found: dict[str, np.ndarray], truth: dict[str, Any]) -> dict[str, float]:
    return {level: value for level, value in differences(found, truth).items() if not value <= LIMITS[level]}


@pytest.mark.parametrize("name", RUNS)
def test_layers_gradients_updates_and_optimizer_state_are_the_oracles(results, truths, name):
    assert not failures(read(results, name), truths[name])


@pytest.mark.parametrize("name", FLOAT64_RUNS)
def test_float64_is_real_on_tensorflow(results, truths, name):
    if results.name.startswith("tensorflow"):
        found = differences(read(results, f"{name} float64"), truths[name])
        assert max(found.values()) < FLOAT64_LIMIT, found


@pytest.mark.parametrize(
    ("twin", "run", "levels"),
    [
        ("flattened wrongly", "conv-deep", {"layers", "gradients", "update"}),
        ("dense transposed", "shallow", {"layers", "gradients", "update"}),
        ("momentum, Keras's own", "momentum", {"update"}),
        ("nesterov, Keras's own", "nesterov", {"update"}),
        ("adam, Keras's own", "adam", {"update"}),
    ],
)
def test_a_broken_twin_is_found_where_it_breaks(results, truths, twin, run, levels):
    found = failures(read(results, twin), truths[run])
    assert levels <= found.keys()
    assert "gradients" in levels or "gradients" not in found


@pytest.mark.parametrize(
    ("run", "changes", "levels"),
    [
        ("deep", {"learning_rate": 0.51}, {"update"}),
        ("nesterov", {"nesterov": False}, {"update"}),
        ("adam", {"epsilon": 1.01e-4}, {"update"}),
        ("adamw", {"weight_decay": 0.505}, {"update"}),
        ("contractive", {"contraction": 0.0505}, {"loss", "gradients", "update"}),
        ("contractive deep", {"contraction": 0.0505}, {"loss", "gradients", "update"}),
        ("contractive pooled", {"contraction": 0.0505}, {"loss", "gradients", "update"}),
    ],
)
def test_a_number_of_the_recipe_off_by_a_hundredth_is_found(results, starts, run, changes, levels):
    other = replace(RUNS[run], recipe=RUNS[run].recipe.with_changes(**changes))
    assert levels <= failures(read(results, run), true_steps(other, starts[other.model])).keys()


@pytest.mark.parametrize("name", ["shallow", "tied", "deep", "conv-strided", "conv-deep"])
def test_weights_come_back_bit_for_bit(results, starts, name):
    loaded = part(read(results, name), "loaded/")
    assert list(loaded) == list(starts[name])
    for key, array in loaded.items():
        assert array.dtype == np.float32
        assert array.tobytes() == np.ascontiguousarray(starts[name][key]).tobytes(), key


def test_all_layers_are_shown_but_the_flat_ones_that_keras_orders_otherwise(results):
    shown = {name: set(part(read(results, name), "layers/")) for name in ("deep", "conv-deep")}
    ends = {"input", "output"}
    assert shown["deep"] == ends | {f"{side}.{index}" for side in ("encoder", "decoder") for index in (1, 3, 5)}
    assert shown["conv-deep"] - ends == {f"encoder.{index}" for index in (1, 3, 4, 7)} | {
        f"decoder.{index}" for index in (2, 4, 5, 7)
    }


@pytest.mark.parametrize("name", ["deep", "conv-strided"])
def test_a_resident_epoch_follows_the_contracts_order_and_keeps_the_short_batch(results, name):
    found = read(results, f"{name} epoch")
    assert epoch_distance(found, name, epoch=1) < LIMITS["update"]
    assert epoch_distance(found, name, epoch=2) > 10 * LIMITS["update"]


def epoch_distance(found: dict, name: str, *, epoch: int, batch_size: int = 64) -> float:
    """How far the change of weights is from the oracle's in that epoch."""
    optimizer = OracleOptimizer(Oracle(ARCHITECTURES[name], initial_weights(ARCHITECTURES[name])), SGD)
    order = batch_order(EPOCH_IMAGES, batch_size, epoch=epoch)
    optimizer.train(images_for(ARCHITECTURES[name])[:EPOCH_IMAGES], order)
    return change_distance(found, optimizer.oracle)


def change_distance(found: dict, oracle: Oracle) -> float:
    start = initial_weights(oracle.architecture)
    changes = [{key: np.float64(held[key]) - start[key] for key in start} for held in (found, oracle.weights)]
    return distance(*changes)


def test_fit_at_its_defaults_sees_every_image_once(results):
    found = read(results, "own shuffle")
    for route in {name.partition("/")[0] for name in found}:
        assert found[f"{route}/steps"] == 3  # 64 + 64 + 22 images
        # In a single batch of all the order is no matter, so the epoch is the oracle's step.
        assert epoch_distance(part(found, f"{route}/"), "deep", epoch=0, batch_size=EPOCH_IMAGES) < 1e-3
