"""The Keras port against the float64 oracle, on every backend, each in a process of its own.

Run as a script, this file is such a process: it reads problems from a folder and writes what Keras made of them
beside. The tests, which import no framework, are the judge.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.agreement import Judge, Problem, Trace, build_problem, distances, relative_distance, trace_of
from benchmarks.tolerances import LEVELS, tolerance
from benchmarks.trial import Case
from core_torch.contract.architecture import Architecture, Convolutional, FullyConnected
from core_torch.contract.batch_order import batch_order
from core_torch.contract.initial_weights import initial_weights
from core_torch.contract.oracle import Oracle
from core_torch.contract.pixels import Split, load_split, to_unit_range
from core_torch.contract.recipe import Recipe

ROOT = Path(__file__).parents[2]
BACKENDS = ("tensorflow", "jax", "torch")
RECIPE = Recipe(optimizer="sgd", learning_rate=1.0, momentum=0.9, validation_fraction=0)
# Chosen so that training from the contract's weights neither kills them nor brings a gradient close to zero, where
# nothing but rounding would be left to compare.
ARCHITECTURES: dict[str, Architecture] = {
    # Square, so that a weight put in transposed has the right shape.
    "shallow": FullyConnected(widths=(64, 64), code_activation="silu", bias=False),
    "deep": FullyConnected(widths=(64, 32, 16, 8), hidden_activation="silu", code_activation="linear"),
    "conv-shallow": Convolutional(side=10, filters=(2,), kernel_sizes=(3,), code_width=6),
    "conv-strided": Convolutional(
        side=9, filters=(3,), kernel_sizes=(4,), strides=(3,), pool_every=0, code_width=6
    ),
    # Two channels, an even kernel, an odd side that pooling cuts, and a convolution without pooling.
    "conv-deep": Convolutional(
        side=13, channels=2, filters=(2, 3), kernel_sizes=(4, 3), pool_every=2, code_width=8
    ),
}
UPDATE = next(level.ceiling for level in LEVELS if level.name == "ten updates")
BATCH_SIZE = 64  # images
EPOCH_IMAGES = 150  # two full batches and a short one
# The model and data of the tests of `train`.
PLAIN = FullyConnected(widths=(784, 8))
TRAINING = RECIPE.with_changes(batch_size=32, epochs=2)
TRAINING_IMAGES = 70


def images_for(architecture: Architecture) -> np.ndarray:
    """(600, pixels) float32: runs of pixels out of the middle of real digits."""
    pixels = int(np.prod(architecture.input_shape))
    digits = to_unit_range(load_split("digits").images[:600]).reshape(600, -1)
    start = (digits.shape[1] - pixels) // 2
    return digits[:, start : start + pixels]


def training_split() -> Split:
    return load_split("digits").take(np.arange(TRAINING_IMAGES))


# ---- The process of one backend -----------------------------------------------------------------------------------


def work(folder: Path) -> None:
    """Everything the tests judge, on the backend of this process."""
    for name, architecture in ARCHITECTURES.items():
        trial = make_trial(architecture)
        for state in ("initial", "trained"):
            problem = read_problem(folder, name, state)
            write_trace(folder, f"{name}-{state}", trial, problem)
            if name == "conv-deep":
                with patched_table(lambda row: row, without_images=True):
                    write_trace(folder, f"{name}-{state}-flattened wrongly", trial, problem)
            if name == "shallow":
                with patched_table(lambda row: (row[0], tuple(sorted(row[1])))):
                    write_trace(folder, f"{name}-{state}-dense transposed", trial, problem)
        trial.load(initial_weights(architecture))
        trial.epoch(1)
        write(folder, f"{name}-epoch", trial.weights())
        if name in ("deep", "conv-deep"):
            write_keras_file(folder, name, trial)
    fit = make_trial(ARCHITECTURES["deep"], route="fit")
    write_trace(folder, "deep-trained-fit", fit, read_problem(folder, "deep", "trained"))
    fast = make_trial(ARCHITECTURES["shallow"], recipe=RECIPE.with_changes(learning_rate=2.0))
    write_trace(folder, "shallow-trained-doubled learning rate", fast, read_problem(folder, "shallow", "trained"))
    write_own_shuffle(folder)
    write_refusals(folder)
    write_training(folder)
    write_denoising(folder)


def make_trial(
    architecture: Architecture, *, route: str = "lean", recipe: Recipe = RECIPE, batch_size: int = BATCH_SIZE
) -> Any:
    from benchmarks.route_keras import KerasTrial

    case = Case(framework="keras", route=route, batch_size=batch_size)
    return KerasTrial(case, architecture, images_for(architecture)[:EPOCH_IMAGES], recipe)


def read_problem(folder: Path, name: str, state: str) -> Problem:
    arrays = read(folder, f"{name}-{state}-problem")
    batches = [arrays.pop(f"batch {index}") for index in range(10)]
    return Problem(name, ARCHITECTURES[name], arrays, batches, RECIPE)


def write_trace(folder: Path, name: str, trial: Any, problem: Problem) -> None:
    trace = trace_of(trial, problem)
    trial.load(problem.weights)
    packed = {f"loaded/{key}": value for key, value in trial.weights().items()}
    for field in fields(Trace):
        value = getattr(trace, field.name)
        if field.name in ("outputs", "loss"):
            packed[field.name] = value
        elif field.name != "shapes":
            packed |= {f"{field.name}/{key}": array for key, array in value.items()}
    write(folder, name, packed)


@contextmanager
def patched_table(change: Any, *, without_images: bool = False) -> Iterator[None]:
    """The layout table with its dense rows broken: without the flatten order, or changed by `change`."""
    from keras_impl import weight_layout

    right = weight_layout._table

    def wrong(layer: Any, *, image_in: Any, image_out: Any) -> dict:
        images = (None, None) if without_images else (image_in, image_out)
        return {key: change(row) for key, row in right(layer, image_in=images[0], image_out=images[1]).items()}

    weight_layout._table = wrong
    yield
    weight_layout._table = right


def write_keras_file(folder: Path, name: str, trial: Any) -> None:
    import keras

    from keras_impl.weight_layout import to_reference_weights

    images = images_for(trial.architecture)[:5]
    trial.model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras", safe_mode=True)
    weights = to_reference_weights(loaded, trial.architecture)
    outputs = {"found": loaded.predict(images, verbose=0), "expected": trial.predict(images)}
    write(folder, f"{name}-file", outputs | {f"found/{key}": value for key, value in weights.items()})
    write(folder, f"{name}-file-expected", trial.weights())


def write_own_shuffle(folder: Path) -> None:
    """Routes that shuffle by themselves: steps taken in an epoch; and, in one batch of all, the update."""
    import keras

    found: dict[str, Any] = {}
    for route in ("fit", "tf.data") if keras.backend.backend() == "tensorflow" else ("fit",):
        trial = make_trial(ARCHITECTURES["shallow"], route=route)
        trial.epoch(0)
        found[f"{route}/steps"] = int(trial.model.optimizer.iterations)
        whole = make_trial(ARCHITECTURES["shallow"], route=route, batch_size=EPOCH_IMAGES)
        whole.epoch(0)
        found |= {f"{route}/{key}": value for key, value in whole.weights().items()}
    write(folder, "own shuffle", found)


def write_refusals(folder: Path) -> None:
    """What is said to bad weights, models and learning rates; and the weights afterwards."""
    from core_torch.contract.errors import UserError
    from keras_impl.model import build_autoencoder
    from keras_impl.training import train
    from keras_impl.weight_layout import load_reference_weights, to_reference, to_reference_weights

    model, good = build_autoencoder(PLAIN), initial_weights(PLAIN, seed=1)
    weight = good["decoder.0.weight"]
    said = {}
    attempts = {
        "missing": lambda: load_reference_weights(model, PLAIN, {"encoder.0.weight": good["encoder.0.weight"]}),
        "extra": lambda: load_reference_weights(model, PLAIN, good | {"encoder.9.weight": weight}),
        "misshapen": lambda: load_reference_weights(model, PLAIN, good | {"decoder.0.weight": weight[:-1]}),
        "not finite": lambda: load_reference_weights(model, PLAIN, good | {"decoder.0.weight": weight * np.nan}),
        "other model": lambda: to_reference_weights(model, replace(PLAIN, widths=(784, 9))),
        "deeper model": lambda: to_reference_weights(model, FullyConnected(widths=(784, 8, 4))),
        "too few arrays": lambda: to_reference([weight], model, PLAIN),
        "tied": lambda: build_autoencoder(replace(PLAIN, tied=True)),
        "diverged": lambda: train(
            build_autoencoder(replace(PLAIN, output_activation="linear")),
            training_split(),
            recipe=TRAINING.with_changes(learning_rate=1e30),
        ),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
            said[name] = "accepted"
        except UserError as error:
            said[name] = str(error)
    write(folder, "refusals", {name: np.array(text) for name, text in said.items()})
    write(folder, "after refusals", to_reference_weights(model, PLAIN))


def write_training(folder: Path) -> None:
    """Weights and losses after `train` by every route; and what patience does."""
    import keras

    from keras_impl.model import build_autoencoder
    from keras_impl.options import ROUTES
    from keras_impl.training import train
    from keras_impl.weight_layout import to_reference_weights

    split = training_split()
    for route in ROUTES:
        if route == "tf.data" and keras.backend.backend() != "tensorflow":
            continue
        model = build_autoencoder(PLAIN)
        history = train(model, split, recipe=TRAINING, route=route)
        write(folder, f"train-{route}", to_reference_weights(model, PLAIN) | history)
    white = Split(np.full_like(split.images, 255), split.labels, "white")  # fitted worse with every epoch
    for name, epochs in (("patient", 5), ("one epoch", 1)):
        model = build_autoencoder(PLAIN)
        recipe = TRAINING.with_changes(epochs=epochs, patience=2, validation_fraction=0.1)
        history = train(model, split, recipe=recipe, validation=white, route="resident")
        write(folder, f"train-{name}", to_reference_weights(model, PLAIN) | history)


def write_denoising(folder: Path) -> None:
    """Two draws of the corruption, what scoring sees, and the losses of training with it."""
    import keras

    from keras_impl.model import build_autoencoder
    from keras_impl.training import denoising_model, train

    recipe = TRAINING.with_changes(objective="denoising")
    model = build_autoencoder(PLAIN)
    noise, clip = denoising_model(model, recipe).layers[:2]
    grey = np.full((4, 784), 0.5, np.float32)
    grey[:, ::2] = 0
    draws = {
        name: keras.ops.convert_to_numpy(clip(noise(keras.ops.convert_to_tensor(grey), training=training)))
        for name, training in (("first", True), ("second", True), ("scoring", False))
    }
    write(folder, "denoising", draws | train(model, training_split(), recipe=recipe, route="resident"))


def read(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz", allow_pickle=False) as stored:
        return dict(stored)


def write(folder: Path, name: str, arrays: dict[str, Any]) -> None:
    np.savez(folder / f"{name}.npz", **arrays)


def part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names start so, without that start."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


# ---- The judge ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judges() -> dict[tuple[str, str], Judge]:
    return {
        (name, state): Judge(
            build_problem(name, architecture, images_for(architecture), recipe=RECIPE, trained=state == "trained")
        )
        for name, architecture in ARCHITECTURES.items()
        for state in ("initial", "trained")
    }


@pytest.fixture(scope="module")
def processes(judges, tmp_path_factory) -> Iterator[dict[str, tuple[subprocess.Popen, Path]]]:
    """One process for each backend, all at work at once."""
    started = {}
    for backend in BACKENDS:
        folder = tmp_path_factory.mktemp(backend)
        for (name, state), judge in judges.items():
            batches = {f"batch {index}": batch for index, batch in enumerate(judge.problem.batches)}
            write(folder, f"{name}-{state}-problem", judge.problem.weights | batches)
        environment = {
            "KERAS_BACKEND": backend,
            "KERAS_HOME": str(folder),
            "CUDA_VISIBLE_DEVICES": "",
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "OMP_NUM_THREADS": "1",  # the models are so small that threads would only wait for each other
            "PYTHONPATH": str(ROOT),
        }
        with open(folder / "log.txt", "w") as log:
            command = [sys.executable, __file__, str(folder)]
            process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
        started[backend] = process, folder
    yield started
    for process, _ in started.values():
        process.kill()
        process.wait()


@pytest.fixture(scope="module", params=BACKENDS)
def results(request, processes) -> Path:
    """The folder that a backend's process has filled."""
    process, folder = processes[request.param]
    assert process.wait() == 0, (folder / "log.txt").read_text()[-4000:]
    return folder


def trace_in(folder: Path, name: str) -> Trace:
    arrays = read(folder, name)
    return Trace(
        shapes={key: array.shape for key, array in part(arrays, "loaded/").items()},
        outputs=arrays["outputs"],
        loss=float(arrays["loss"]),
        gradients=part(arrays, "gradients/"),
        one_update=part(arrays, "one_update/"),
        ten_updates=part(arrays, "ten_updates/"),
    )


def first_failure(judge: Judge, trace: Trace) -> str | None:
    """The first level, of rising strictness, at which the trace differs from the oracle's; None if it agrees."""
    found = distances(trace, judge.truth)
    for level in LEVELS:
        limit = tolerance(level, judge.budget[level.name]) if level.ceiling else 0.0
        if not found[level.name] <= limit:
            return level.name
    return None


@pytest.mark.parametrize("state", ["initial", "trained"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_outputs_gradients_and_updates_are_the_oracles(results, judges, name, state):
    trace = trace_in(results, f"{name}-{state}")
    assert first_failure(judges[name, state], trace) is None, distances(trace, judges[name, state].truth)


def test_the_step_inside_fit_agrees_too(results, judges):
    assert first_failure(judges["deep", "trained"], trace_in(results, "deep-trained-fit")) is None


@pytest.mark.parametrize(
    ("name", "state", "twin", "level"),
    [
        ("conv-deep", "initial", "flattened wrongly", "outputs"),
        ("conv-deep", "trained", "flattened wrongly", "outputs"),
        ("shallow", "initial", "dense transposed", "outputs"),
        ("shallow", "trained", "dense transposed", "outputs"),
        ("shallow", "trained", "doubled learning rate", "one update"),
    ],
)
def test_a_broken_twin_is_found_at_the_level_it_breaks(results, judges, name, state, twin, level):
    assert first_failure(judges[name, state], trace_in(results, f"{name}-{state}-{twin}")) == level


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_weights_come_back_bit_for_bit(results, judges, name):
    weights = judges[name, "trained"].problem.weights
    loaded = part(read(results, f"{name}-trained"), "loaded/")
    assert list(loaded) == list(weights)
    for key, array in loaded.items():
        assert array.dtype == np.float32
        assert array.tobytes() == np.ascontiguousarray(weights[key]).tobytes(), key


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_resident_epoch_follows_the_contracts_order_and_keeps_the_short_batch(results, name):
    found = read(results, f"{name}-epoch")
    assert epoch_distance(found, name, epoch=1) < UPDATE
    assert epoch_distance(found, name, epoch=2) > 10 * UPDATE


def epoch_distance(found: dict, name: str, *, epoch: int, batch_size: int = BATCH_SIZE) -> float:
    """How far the change of weights is from the oracle's in that epoch."""
    images = images_for(ARCHITECTURES[name])[:EPOCH_IMAGES]
    oracle = Oracle(ARCHITECTURES[name], initial_weights(ARCHITECTURES[name]))
    train_oracle(oracle, images, recipe=RECIPE.with_changes(batch_size=batch_size), epoch=epoch)
    return change_distance(found, oracle)


def train_oracle(oracle: Oracle, images: np.ndarray, *, recipe: Recipe, epoch: int) -> list[float]:
    order = batch_order(len(images), recipe.batch_size, seed=recipe.seed, epoch=epoch)
    return oracle.train(images, order, learning_rate=recipe.learning_rate, momentum=recipe.momentum)


def change_distance(found: dict, oracle: Oracle) -> float:
    start = initial_weights(oracle.architecture)
    changes = [{key: np.float64(held[key]) - start[key] for key in start} for held in (found, oracle.weights)]
    return relative_distance(*changes)


def test_fit_at_its_defaults_sees_every_image_once(results):
    found = read(results, "own shuffle")
    for route in {name.partition("/")[0] for name in found}:
        assert found[f"{route}/steps"] == 3  # 64 + 64 + 22 images
        # In a single batch of all the order is no matter, so the epoch is the oracle's step.
        update = part(found, f"{route}/")
        assert epoch_distance(update, "shallow", epoch=0, batch_size=EPOCH_IMAGES) < 10 * UPDATE


def test_every_route_of_train_does_the_oracles_work(results):
    images = to_unit_range(training_split().images).reshape(TRAINING_IMAGES, -1)
    oracle = Oracle(PLAIN, initial_weights(PLAIN))
    losses = []
    for epoch in range(TRAINING.epochs):
        *full, short = train_oracle(oracle, images, recipe=TRAINING, epoch=epoch)
        losses.append((sum(full) * 32 + short * 6) / TRAINING_IMAGES)
    paths = sorted(results.glob("train-*.npz"))
    for route in ("arrays", "pydataset", "resident", *(["tf.data"] if results / "train-tf.data.npz" in paths else [])):
        found = read(results, f"train-{route}")
        np.testing.assert_allclose(found["train_loss"], losses, rtol=1e-5)
        assert change_distance(found, oracle) < UPDATE, route


def test_patience_stops_and_puts_the_best_weights_back(results):
    patient, best = read(results, "train-patient"), read(results, "train-one epoch")
    assert patient["validation_mse"].argmin() == 0
    assert len(patient["train_loss"]) == len(patient["validation_mse"]) == 3
    for name in initial_weights(PLAIN):
        np.testing.assert_array_equal(patient[name], best[name])


def test_denoising_corrupts_training_only(results):
    found = read(results, "denoising")
    for draw in (found["first"], found["second"]):
        assert draw.min() == 0
        assert draw.max() <= 1
        assert 0.15 < draw[:, 1::2].std() < 0.25  # the recipe's 0.2, hardly clipped around 0.5
    assert not np.array_equal(found["first"], found["second"])
    np.testing.assert_array_equal(found["scoring"][:, 1::2], 0.5)
    assert found["train_loss"][1] < found["train_loss"][0]


@pytest.mark.parametrize("name", ["deep", "conv-deep"])
def test_a_keras_file_loads_in_safe_mode_as_the_same_model(results, name):
    found, expected = read(results, f"{name}-file"), read(results, f"{name}-file-expected")
    np.testing.assert_array_equal(found["found"], found["expected"])
    for key, array in expected.items():
        np.testing.assert_array_equal(found[f"found/{key}"], array)


def test_bad_weights_are_refused_by_name_before_any_is_copied(results):
    said = {name: str(text) for name, text in read(results, "refusals").items()}
    assert "decoder.0.weight" in said["missing"]
    assert "encoder.9.weight" in said["extra"]
    assert "(783, 8)" in said["misshapen"]
    assert "not finite" in said["not finite"]
    assert "expected (784, 9)" in said["other model"]
    assert "encoder_2" in said["deeper model"]
    assert "found 1, expected 4" in said["too few arrays"]
    assert "tied" in said["tied"]
    assert "training loss" in said["diverged"]
    for name, array in initial_weights(PLAIN).items():
        np.testing.assert_array_equal(read(results, "after refusals")[name], array)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
