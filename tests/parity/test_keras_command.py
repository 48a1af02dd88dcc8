"""python -m keras_impl: its errors take one line and load no framework; its files hold what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core_torch.contract.architecture import architecture_from, parameter_shapes
from core_torch.contract.errors import ConfigError
from core_torch.contract.oracle import Oracle
from core_torch.contract.pixels import load_split, to_unit_range
from core_torch.contract.recipe import OBJECTIVES, Recipe
from core_torch.contract.weights_file import load_weights
from keras_impl.options import check_options

ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("keras", "tensorflow", "jax", "torch")
# Runs the command, then names on the last line of standard output what it imported.
PROGRAM = f"""
import atexit, runpy, sys
atexit.register(lambda: print("imported:", *(name for name in {FRAMEWORKS} if name in sys.modules)))
runpy.run_module("keras_impl", run_name="__main__", alter_sys=True)
"""


def keras_impl(*arguments: str, backend: str = "jax") -> subprocess.CompletedProcess[str]:
    environment = {
        "KERAS_BACKEND": backend,
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "command"),
        (["train", "--epoch", "3"], "--epochs"),
        (["train", "--epochs", "many"], "many"),
        (["train", "--epochs", "0"], "epochs"),
        (["train", "--model", "conv-dep"], "conv-deep"),
        (["train", "--model", "randomized-deep"], "randomized-deep"),
        (["train", "--objective", "contractiv"], "contractive"),
        (["train", "--dataset", "mnst"], "mnist"),
        (["train", "--route", "tf.data"], "tensorflow"),
        (["train", "--output", "/dev/null/folder"], "/dev/null"),
    ],
)
def test_a_mistake_takes_one_line_and_loads_no_framework(arguments, named):
    finished = keras_impl(*arguments)
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith("python -m keras_impl")
    assert named in line
    assert finished.stdout == "imported:\n"


def test_an_unknown_backend_is_refused_by_name():
    finished = keras_impl("train", backend="theano")
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert "theano" in finished.stderr


def test_help_loads_no_framework():
    finished = keras_impl("train", "--help")
    assert finished.returncode == 0
    assert finished.stdout.splitlines()[-1] == "imported:"


@pytest.mark.parametrize("objective", ["standard", "contractive"])
def test_train_writes_weights_that_score_what_it_reports(tmp_path, objective):
    options = f"train --objective {objective} --epochs 1 --batch-size 64 --seed 3 --route resident --output {tmp_path}"
    finished = keras_impl(*options.split())
    assert finished.returncode == 0, finished.stderr
    summary = finished.stdout.splitlines()[:-1]
    assert len(summary) == 2
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {name: metrics[name] for name in ("model", "objective", "dataset", "seed", "epochs", "backend")} == {
        "model": "shallow",
        "objective": objective,
        "dataset": "digits",
        "seed": 3,
        "epochs": 1,
        "backend": "jax",
    }
    weights, manifest = load_weights(tmp_path)
    architecture = architecture_from(manifest["architecture"])
    assert {name: array.shape for name, array in weights.items()} == parameter_shapes(architecture)
    assert metrics["parameters"] == sum(array.size for array in weights.values())
    images = to_unit_range(load_split("digits", train=False).images, np.float64).reshape(-1, 784)
    error = Oracle(architecture, weights).loss(images, images)
    assert metrics["test_mse"] == pytest.approx(error, rel=1e-5)
    assert metrics["history"]["train_loss"][0] > (5 if objective == "contractive" else 1) * error
    assert metrics["test_sse"] == pytest.approx(784 * error, rel=1e-5)
    training = to_unit_range(load_split("digits").images, np.float64).reshape(-1, 784)
    assert metrics["test_mse_of_mean"] == pytest.approx(np.mean((images - training.mean(axis=0)) ** 2), rel=1e-5)
    assert f"{metrics['test_mse']:.6f}" in summary[1]
    assert f"{metrics['test_mse_of_mean']:.6f}" in summary[1]


@pytest.mark.parametrize(
    ("changes", "options", "named"),
    [
        ({"schedule": "one-cycle"}, {}, "one-cycle"),
        ({}, {"route": "lists"}, "lists"),
        ({}, {"route": "tf.data"}, "tensorflow"),
        ({}, {"steps_per_execution": 0}, "steps_per_execution"),
        ({}, {"steps_per_execution": 2, "backend": "torch"}, "torch"),
        ({}, {"steps_per_execution": 2, "route": "resident"}, "resident"),
        ({}, {"jit_compile": False, "route": "resident"}, "jit_compile"),
        ({}, {"backend": "theano"}, "theano"),
    ],
)
def test_what_keras_or_the_port_cannot_do_is_refused_by_name(changes, options, named):
    with pytest.raises(ConfigError, match=named):
        check_options(Recipe().with_changes(**changes), **({"backend": "jax"} | options))


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_what_they_can_do_is_not(backend):
    for route in ("arrays", "pydataset", "resident", *(["tf.data"] if backend == "tensorflow" else [])):
        for objective in OBJECTIVES:
            check_options(Recipe(objective=objective, corruption="patch"), backend=backend, route=route)
