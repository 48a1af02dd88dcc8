"""`train` of the Keras port, its files and its refusals, on every backend, each in a process of its own.

Such a process runs `work`: it writes what Keras made into a folder, for the tests to judge.
"""

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core_torch.files.splits import Split, load_split, to_unit_range
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.architecture import Convolutional, FullyConnected
from core_torch.spec.batch_order import batch_order
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.recipe import CORRUPTIONS, Recipe

PLAIN = FullyConnected(widths=(784, 8))
SGD = Recipe(optimizer="sgd", learning_rate=1.0, momentum=0.9, batch_size=32, epochs=2, validation_fraction=0)
CYCLE = Recipe(schedule="one-cycle", learning_rate=0.01, batch_size=32, epochs=2, validation_fraction=0)
CYCLE_STEPS = (2, 3, 4, 10, 101)
# {name: (recipe, pipeline)}; the oracle retraces each.
TRAININGS = {
    "arrays": (SGD, "arrays"),
    "tf.data": (SGD, "tf.data"),
    "pydataset": (SGD, "pydataset"),
    "resident": (SGD, "resident"),
    "contractive arrays": (SGD.with_changes(objective="contractive", contraction=0.1), "arrays"),
    "one-cycle arrays": (CYCLE, "arrays"),
    "one-cycle resident": (CYCLE, "resident"),
    "contractive resident": (SGD.with_changes(objective="contractive", contraction=0.1), "resident"),
    "arrays, two steps at once": (SGD, "arrays"),
    "arrays, compiled": (SGD, "arrays"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "arrays, two steps at once": {"steps_per_execution": 2},
    "arrays, compiled": {"jit_compile": True},
}
LEFT_OUT = {"jax": ("tf.data",), "torch": ("tf.data", *OPTIONS)}  # refused there; torch's compiler takes too long
COUNT = 70  # images: two batches and a short one
UPDATE = 1e-4  # relative L2 distance of the change of all weights, in float32
SAVED = {
    "deep": FullyConnected(widths=(784, 16, 8)),
    "conv": Convolutional(filters=(2, 3), kernel_sizes=(4, 3), strides=(1, 2), pool_every=2, code_width=8),
}


def training_split() -> Split:
    return load_split("digits").take(np.arange(COUNT))


# ---- The process of one backend -----------------------------------------------------------------------------------


def work(folder: Path) -> None:
    """Everything the tests judge, on the backend of this process."""
    write_refusals(folder)
    write_training(folder)
    write_denoising(folder)
    write_as_any_other(folder)
    write_keras_files(folder)


def write_refusals(folder: Path) -> None:
    """What is said to bad weights, models, learning rates and types; and the weights afterwards."""
    import keras

    from benchmarks.ports.keras import prepare
    from benchmarks.ports.timed_port import Case
    from core_torch.spec.errors import UserError
    from keras_impl.checkpoint import save_model
    from keras_impl.model import build_autoencoder
    from keras_impl.training import predict, train
    from keras_impl.weight_layout import load_reference_weights, to_reference, to_reference_weights

    def hiding_an_infinity() -> Any:
        """Its sigmoid is 1 there, and its gradient 0."""
        spoilt = build_autoencoder(PLAIN)
        *others, bias = spoilt.get_weights()
        bias[3] = np.inf
        spoilt.set_weights([*others, bias])
        return spoilt

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
        "tied": lambda: save_model(build_autoencoder(replace(PLAIN, tied=True)), folder / "tied.keras"),
        "diverged": lambda: train(
            build_autoencoder(replace(PLAIN, output_activation="linear")),
            training_split(),
            recipe=SGD.with_changes(learning_rate=1e30),
        ),
        "diverged at last": lambda: train(
            build_autoencoder(replace(PLAIN, output_activation="linear")),
            training_split(),
            recipe=SGD.with_changes(learning_rate=1e30, epochs=1, batch_size=100, validation_fraction=0.1),
        ),
        "hidden": lambda: train(hiding_an_infinity(), training_split(), recipe=SGD),
        "other images": lambda: predict(model, np.zeros((1, 100), np.float32)),
    }
    if keras.backend.backend() != "tensorflow":
        attempts["float64"] = lambda: prepare(Case(framework="", dtype="float64"), training_split(), SGD)
    for name, attempt in attempts.items():
        try:
            attempt()
            said[name] = "accepted"
        except UserError as error:
            said[name] = str(error)
    write(folder, "refusals", {name: np.array(text) for name, text in said.items()})
    write(folder, "after refusals", to_reference_weights(model, PLAIN))


def write_training(folder: Path) -> None:
    """Weights and losses after `train`; and what patience does."""
    import keras

    from keras_impl.model import build_autoencoder
    from keras_impl.training import train
    from keras_impl.weight_layout import to_reference_weights

    for name, (recipe, pipeline) in TRAININGS.items():
        if name in LEFT_OUT.get(keras.backend.backend(), ()):
            continue
        model = build_autoencoder(PLAIN)
        history = train(model, training_split(), recipe=recipe, pipeline=pipeline, **OPTIONS.get(name, {}))
        write(folder, f"train-{name}", to_reference_weights(model, PLAIN) | history)
    white = training_split()
    white = Split(np.full_like(white.images, 255), white.labels, "white")  # fitted worse with every epoch
    for name, epochs in (("patient", 5), ("one epoch", 1)):
        model = build_autoencoder(PLAIN)
        recipe = SGD.with_changes(epochs=epochs, patience=2, validation_fraction=0.1)
        history = train(model, training_split(), recipe=recipe, validation=white, pipeline="resident")
        write(folder, f"train-{name}", to_reference_weights(model, PLAIN) | history)


def write_as_any_other(folder: Path) -> None:
    """What a Keras user does with a model; and the rates of cycles."""
    import keras

    from keras_impl.model import build_autoencoder
    from keras_impl.optimizers import OneCycle
    from keras_impl.training import train

    model, images = build_autoencoder(PLAIN), to_unit_range(training_split().images).reshape(COUNT, -1)
    model.compile("adam", "mean_squared_error")
    found = {"loss": model.fit(images, images, epochs=2, verbose=0).history["loss"]}
    found["evaluated"] = model.evaluate(images, images, verbose=0)
    found["predicted"] = model.predict(images, verbose=0)
    found["error"] = np.mean((found["predicted"] - images) ** 2)
    codes = model.get_layer("encoder").predict(images, verbose=0)
    found["decoded"] = model.get_layer("decoder").predict(codes, verbose=0)
    stop = keras.callbacks.EarlyStopping("train_loss", mode="max", patience=0)
    recipe = CYCLE.with_changes(epochs=3)
    found["stopped"] = train(build_autoencoder(PLAIN), training_split(), recipe=recipe, callbacks=[stop])["train_loss"]
    write(folder, "as any other", found)
    rates = {}
    for steps in CYCLE_STEPS:
        cycle = OneCycle.from_config(OneCycle(0.3, steps).get_config())
        rates[str(steps)] = [float(cycle(keras.ops.array(step))) for step in range(steps)]
    write(folder, "cycles", rates)


def write_denoising(folder: Path) -> None:
    """Two draws of each corruption, what scoring sees, and the losses of training with it."""
    import keras

    from keras_impl.model import build_autoencoder
    from keras_impl.training import train, training_model

    for kind in CORRUPTIONS:
        recipe = SGD.with_changes(objective="denoising", corruption=kind)
        model = build_autoencoder(PLAIN)
        described = keras.saving.serialize_keras_object(training_model(model, recipe).layers[0])
        corrupt = keras.saving.deserialize_keras_object(described, safe_mode=True)
        grey = keras.ops.convert_to_tensor(np.full((40, 784), 0.5, np.float32))
        draws = {
            name: keras.ops.convert_to_numpy(corrupt(grey, training=training))
            for name, training in (("first", True), ("second", True), ("scoring", False))
        }
        write(folder, f"denoising-{kind}", draws | train(model, training_split(), recipe=recipe, pipeline="resident"))


# Loads files where nothing of this repository can be imported.
LOADER = """
import sys, keras, numpy as np
images, found = np.load("images.npy"), {}
for name in sys.argv[1:]:
    try:
        model = keras.saving.load_model(f"{name}.keras", safe_mode=True)
        found |= {f"{name}/{index}": array for index, array in enumerate(model.get_weights())}
        found[f"{name}/outputs"] = model.predict(images, verbose=0)
    except TypeError as error:
        found[f"{name}/refused"] = np.array(str(error))
np.savez("loaded files.npz", **found)
assert "keras_impl" not in sys.modules
"""


def write_keras_files(folder: Path) -> None:
    from keras_impl.checkpoint import save_model
    from keras_impl.model import build_autoencoder
    from keras_impl.optimizers import build_optimizer
    from keras_impl.training import train, training_model

    images = to_unit_range(training_split().images[:5]).reshape(5, -1)
    np.save(folder / "images.npy", images)
    expected, recipe = {}, Recipe(epochs=1, validation_fraction=0)
    for name, architecture in SAVED.items():
        model = build_autoencoder(architecture)
        train(model, training_split(), recipe=recipe)
        save_model(model, folder / f"{name}.keras")
        expected |= {f"{name}/{index}": array for index, array in enumerate(model.get_weights())}
        expected[f"{name}/outputs"] = model.predict(images, verbose=0)
    compiled = training_model(model, recipe)
    compiled.compile(build_optimizer(recipe), "mean_squared_error")
    compiled.save(folder / "compiled.keras")
    write(folder, "saved files", expected)
    command = [sys.executable, "-c", LOADER, *SAVED, "compiled"]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": ""}, check=True)


def read(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz", allow_pickle=False) as stored:
        return dict(stored)


def write(folder: Path, name: str, arrays: dict[str, Any]) -> None:
    np.savez(folder / f"{name}.npz", **arrays)


# ---- The judge ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRAININGS)
def test_train_does_the_oracles_work(results, name):
    recipe, pipeline = TRAININGS[name]
    steps = recipe.epochs * math.ceil(COUNT / recipe.batch_size)
    rates = one_cycle(recipe.learning_rate, steps) if recipe is CYCLE else [recipe.learning_rate] * steps
    if name in LEFT_OUT.get(results.name.rstrip("0123456789"), ()):
        pytest.skip(f"{name} is not for {results.name}")
    images = to_unit_range(training_split().images).reshape(COUNT, -1)
    optimizer, losses = OracleOptimizer(Oracle(PLAIN, initial_weights(PLAIN)), recipe), []
    for epoch in range(recipe.epochs):
        taken = []
        for batch in batch_order(COUNT, 32, epoch=epoch):
            optimizer.learning_rate = rates[optimizer.steps]
            taken.append(optimizer.step(images[batch], images[batch]) * len(batch))
        losses.append(sum(taken) / COUNT)
    found = read(results, f"train-{name}")
    np.testing.assert_allclose(found["train_loss"], losses, rtol=1e-5)
    assert change_distance(found, optimizer.oracle.weights) < UPDATE
    standard = read(results, f"train-{pipeline}")
    assert (recipe is not SGD) == (change_distance(standard, optimizer.oracle.weights) > 10 * UPDATE)


def change_distance(found: dict, truth: dict) -> float:
    """||found - truth|| / ||truth - start|| over all weights together."""
    start = initial_weights(PLAIN)
    squares = sum(np.sum((found[name] - truth[name]) ** 2) for name in truth)
    return float(np.sqrt(squares / sum(np.sum((truth[name] - start[name]) ** 2) for name in truth)))


def one_cycle(peak: float, steps: int) -> list[float]:
    """PyTorch's rates, as the reference's `build_scheduler` asks for them."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1)], peak)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, cycle_momentum=False)
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("steps", CYCLE_STEPS)
def test_the_cycle_is_pytorchs_at_every_step(results, steps):
    found = read(results, "cycles")[str(steps)]
    np.testing.assert_allclose(found, one_cycle(0.3, steps), rtol=1e-6)
    assert steps == 2 or not np.allclose(found, one_cycle(0.3, steps + 1)[1:], rtol=1e-2)


def test_a_model_is_compiled_fitted_evaluated_and_asked_as_any_other(results):
    found = read(results, "as any other")
    assert found["loss"][1] < found["loss"][0]
    np.testing.assert_allclose(found["evaluated"], found["error"], rtol=1e-5)
    np.testing.assert_allclose(found["decoded"], found["predicted"], atol=1e-6)
    assert len(found["stopped"]) == 2  # of three epochs, by a callback


def test_patience_stops_and_puts_the_best_weights_back(results):
    patient, best = read(results, "train-patient"), read(results, "train-one epoch")
    assert patient["validation_mse"].argmin() == 0
    assert len(patient["train_loss"]) == len(patient["validation_mse"]) == 3
    for name in initial_weights(PLAIN):
        np.testing.assert_array_equal(patient[name], best[name])


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_denoising_corrupts_training_only(results, kind):
    found = read(results, f"denoising-{kind}")
    for draw in (found["first"], found["second"]):
        hit = (draw != 0.5).sum(axis=1)
        if kind == "gaussian":
            assert 0.18 < draw.std() < 0.2  # the recipe's 0.2, clipped at 2.5 deviations
            assert draw.min() == 0
            assert draw.max() == 1
        elif kind == "patch":
            assert (hit == 13**2).all()  # of side round(28 sqrt(0.2))
            for image in draw.reshape(-1, 28, 28):
                rows, columns = np.nonzero(image == 0)
                assert np.ptp(rows) == np.ptp(columns) == 12
        else:
            assert (hit == 157).all()  # round(0.2 * 784)
            assert 0.4 < (draw == 1).sum() / hit.sum() < 0.6 if kind == "salt-and-pepper" else draw.max() == 0.5
        assert len(np.unique(draw, axis=0)) > len(draw) // 2
    assert not np.array_equal(found["first"], found["second"])
    np.testing.assert_array_equal(found["scoring"], 0.5)
    assert found["train_loss"][1] < found["train_loss"][0]


def test_a_keras_file_loads_in_safe_mode_without_this_repository(results):
    found, expected = read(results, "loaded files"), read(results, "saved files")
    assert "Adam" in str(found.pop("compiled/refused"))  # a file of what was compiled, with our optimizer, does not
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


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
    assert not list(results.glob("*tied*"))
    assert "train_loss is not finite" in said["diverged"]
    assert "validation_mse is not finite" in said["diverged at last"]
    assert "epoch 0: " in said["hidden"] and "bias is not finite" in said["hidden"]
    assert "(784,)" in said["other images"]
    assert "float64" in said.get("float64", "float64")
    for name, array in initial_weights(PLAIN).items():
        np.testing.assert_array_equal(read(results, "after refusals")[name], array)
