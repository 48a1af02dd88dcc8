"""python -m keras_impl: its errors take one line and load no framework; its files hold what it says."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core_torch.__main__ import build_parser as core_parser
from core_torch.commands.train_options import resolve_options
from core_torch.files.splits import load_split, to_unit_range
from core_torch.files.weights import load_weights
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.architecture import ARCHITECTURES, architecture_from, parameter_shapes
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import OBJECTIVES, Recipe
from keras_impl.options import BACKENDS, check_logs, check_options, choose_device

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
        (["train", "--pipeline", "tf.data"], "tensorflow"),
        (["train", "--output", "/dev/null/folder"], "/dev/null"),
        (["train", "--backup", "/dev/null/folder"], "/dev/null"),
        (["train", "--log", "/no such folder/log.csv"], "log"),
        (["train", "--jit-compile", "yes"], "jit_compile"),
        (["train", "--steps-per-execution", "2", "--pipeline", "resident"], "steps_per_execution"),
        (["train", "--data-parallel", "--route", "pydataset"], "data_parallel"),
        (["train", "--preset", "bst"], "best"),
        (["train", "--device", "cdua"], "did you mean cuda?"),
        (["evaluate"], "CHECKPOINT"),
        (["evaluate", "somewhere", "--dataset", "mnst"], "mnist"),
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


@pytest.fixture(scope="module", params=["standard", "contractive"])
def trained(request, tmp_path_factory) -> Path:
    """The folder of a model trained in Keras on JAX."""
    folder = tmp_path_factory.mktemp(request.param)
    options = (
        f"--objective {request.param} --epochs 1 --batch-size 64 --seed 3 --pipeline resident --log {folder}/log.csv"
    )
    finished = keras_impl("train", *options.split(), "--backup", f"{folder}/backup", "--output", str(folder))
    assert finished.returncode == 0, finished.stderr
    (folder / "printed").write_text(finished.stdout)
    return folder


def printed(text: str) -> dict[str, str]:
    """{name: value} of what a command printed."""
    return dict(line.split(maxsplit=1) for line in text.splitlines()[:-1])


def test_train_writes_weights_that_score_what_it_reports(trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    objective = trained.name.rstrip("0")
    assert {name: metrics[name] for name in ("model", "objective", "dataset", "seed", "epochs", "backend")} == {
        "model": "shallow",
        "objective": objective,
        "dataset": "digits",
        "seed": 3,
        "epochs": 1,
        "backend": "jax",
    }
    weights, manifest = load_weights(trained)
    architecture = architecture_from(manifest["architecture"])
    assert {name: array.shape for name, array in weights.items()} == parameter_shapes(architecture)
    assert metrics["parameters"] == sum(array.size for array in weights.values())
    images = to_unit_range(load_split("digits", train=False).images, np.float64).reshape(-1, 784)
    oracle = Oracle(architecture, weights)
    error = oracle.loss(images, images)
    assert metrics["test_mse"] == pytest.approx(error, rel=1e-5)
    assert metrics["history"]["train_loss"][0] > (5 if objective == "contractive" else 1) * error
    assert metrics["test_sse"] == pytest.approx(784 * error, rel=1e-5)
    training = to_unit_range(load_split("digits").images, np.float64).reshape(-1, 784)
    assert metrics["test_mse_of_mean"] == pytest.approx(np.mean((images - training.mean(axis=0)) ** 2), rel=1e-5)
    assert metrics["test_mse_of_zeros"] == pytest.approx(np.mean(images**2), rel=1e-5)
    first = images[:100]
    contraction = oracle.loss(first, first, contraction=1) - oracle.loss(first, first)
    assert metrics["jacobian_norm_squared"] == pytest.approx(contraction, rel=1e-5)
    variance = oracle.activations(images)["encoder.1"].var(axis=0).sum()
    assert metrics["jacobian_scale_free"] == pytest.approx(contraction / variance, rel=1e-5)


def test_what_is_printed_logged_and_kept_is_one_and_the_same(trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    history = metrics.pop("history")
    shown = printed((trained / "printed").read_text())
    assert list(shown) == list(metrics)
    assert float(shown["test_mse"]) == pytest.approx(metrics["test_mse"], rel=1e-5)
    heading, row = (trained / "log.csv").read_text().splitlines()
    assert heading == "epoch,train_loss,validation_mse,seconds"
    numbers = [1, *history["train_loss"], *history["validation_mse"], metrics["seconds"]]
    assert list(map(float, row.split(","))) == numbers
    assert history.keys() == {"train_loss", "validation_mse"}  # as the reference's


def test_evaluate_repeats_the_figures_of_train(trained):
    finished = keras_impl("evaluate", str(trained), "--json", f"{trained}/evaluated.json")
    assert finished.returncode == 0, finished.stderr
    metrics = json.loads((trained / "metrics.json").read_text())
    found = json.loads((trained / "evaluated.json").read_text())
    assert list(found) == list(printed(finished.stdout)) == [name for name in metrics if name in found]
    assert {"test_mse", "test_sse", "jacobian_norm_squared", "model", "dataset"} < found.keys()
    for name, value in found.items():
        assert metrics[name] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)


def test_a_url_is_not_loaded():
    finished = keras_impl("evaluate", "https://example.org/run")
    assert finished.returncode == 2
    assert finished.stderr.endswith("error: https://example.org/run: is a URL, allowed: a local folder\n")


def test_the_reference_reads_the_recipe_file_as_the_manifest_says(trained):
    options = core_parser().parse_args(["train", "--recipe", str(trained / "recipe.toml")])
    _, manifest = load_weights(trained)
    expected = architecture_from(manifest["architecture"]), Recipe(**manifest["recipe"])
    assert resolve_options(options, models=tuple(ARCHITECTURES)) == expected
    assert resolve_options(options, models=tuple(ARCHITECTURES))[1] != Recipe(**manifest["recipe"] | {"seed": 4})


def test_the_recipe_file_repeats_a_run_and_its_backup_spares_the_training(trained):
    again = ("train", "--recipe", f"{trained}/recipe.toml", "--pipeline", "resident", "--backup", f"{trained}/backup")
    finished = keras_impl(*again, "--json", f"{trained}/again.json")
    assert finished.returncode == 0, finished.stderr
    found, metrics = (json.loads((trained / name).read_text()) for name in ("again.json", "metrics.json"))
    assert found["test_mse"] == metrics["test_mse"]


def test_two_devices_that_share_all_batches_but_an_odd_one_train_as_one_device(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    found = {}
    for name, parallel in (("one", []), ("two", ["--data-parallel"])):
        finished = keras_impl(*"train --epochs 1 --batch-size 64 --output".split(), f"{tmp_path}/{name}", *parallel)
        assert finished.returncode == 0, finished.stderr
        found[name] = json.loads((tmp_path / name / "metrics.json").read_text())
    assert found["two"]["devices"] == 2
    for name in ("test_mse", "jacobian_norm_squared"):
        assert found["two"][name] == pytest.approx(found["one"][name], rel=1e-5)
    one, two = (load_weights(tmp_path / name)[0] for name in ("one", "two"))
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, atol=1e-5)
    assert not np.array_equal(two["encoder.0.weight"], one["encoder.0.weight"])  # two halves round otherwise


@pytest.mark.parametrize(
    ("changes", "options", "named"),
    [
        ({"schedule": "one-cycle", "optimizer": "sgd", "momentum": 0.9}, {}, "one-cycle"),
        ({}, {"pipeline": "lists"}, "lists"),
        ({}, {"pipeline": "tf.data"}, "tensorflow"),
        ({}, {"steps_per_execution": 0}, "steps_per_execution"),
        ({}, {"steps_per_execution": 2, "backend": "torch"}, "torch"),
        ({}, {"steps_per_execution": 2, "pipeline": "resident"}, "resident"),
        ({}, {"jit_compile": False, "pipeline": "resident"}, "jit_compile"),
        ({}, {"jit_compile": "yes"}, "jit_compile"),
        ({}, {"data_parallel": True, "pipeline": "resident"}, "data_parallel"),
        ({}, {"data_parallel": True, "backend": "torch"}, "data_parallel"),
        ({}, {"backend": "theano"}, "theano"),
    ],
)
def test_what_keras_or_the_port_cannot_do_is_refused_by_name(changes, options, named):
    with pytest.raises(ConfigError, match=named):
        check_options(Recipe().with_changes(**changes), **({"backend": "jax"} | options))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_they_can_do_is_not(backend):
    for pipeline in ("arrays", "pydataset", "resident", *(["tf.data"] if backend == "tensorflow" else [])):
        for objective in OBJECTIVES:
            recipe = Recipe(objective=objective, corruption="patch", schedule="one-cycle")
            check_options(recipe, backend=backend, pipeline=pipeline)


def test_event_files_are_refused_by_name_where_their_writer_is_missing(monkeypatch, tmp_path):
    options = argparse.Namespace(log=None, backup=None, tensorboard=str(tmp_path))
    monkeypatch.setattr("core_torch.spec.extras.find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=r"^tensorboardX: not installed, allowed: pip install .*\[tensorboard\]$"):
        check_logs(options)
    monkeypatch.undo()
    pytest.importorskip("tensorboardX")
    check_logs(options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_goes_on_in_its_time_leaves_its_curves_and_loads_no_tensorflow_of_its_own(backend, tmp_path):
    pytest.importorskip("tensorboardX")
    kept = ("--backup", str(tmp_path / "kept"), "--tensorboard", str(tmp_path / "curves"))
    found = {}
    for name in ("first", "again"):
        written = ("--json", str(tmp_path / name), "--log", str(tmp_path / "log.csv"))
        finished = keras_impl("train", "--device", "cpu", "--epochs", "2", *kept, *written, backend=backend)
        assert finished.returncode == 0, finished.stderr
        assert ("tensorflow" in finished.stdout.splitlines()[-1]) is (backend == "tensorflow")
        found[name] = json.loads((tmp_path / name).read_text())
    rows = [row.split(",") for row in (tmp_path / "log.csv").read_text().splitlines()]
    assert rows[0] == ["epoch", "train_loss", "validation_mse", "seconds"]
    assert found["again"]["seconds"] == found["first"]["seconds"] == sum(float(row[-1]) for row in rows[1:]) > 0
    events = b"".join(path.read_bytes() for path in (tmp_path / "curves").iterdir())
    assert b"train_loss" in events
    assert b"validation_mse" in events


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gpu_that_the_backend_does_not_find_is_refused_by_name(backend):
    finished = keras_impl("train", "--device", "cuda", backend=backend)
    assert finished.returncode == 2
    *_, line = finished.stderr.splitlines()  # TensorFlow says more
    assert line.endswith(f"device: found cuda, allowed on this machine with KERAS_BACKEND={backend}: auto, cpu")


def test_a_gpu_is_hidden_from_every_backend_only_where_the_cpu_is_asked_for(monkeypatch):
    names = ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS", "KERAS_TORCH_DEVICE")
    for name in names:
        monkeypatch.setenv(name, "as it was")
    choose_device("auto", backend="jax")
    monkeypatch.setattr("keras_impl.options._finds_gpu", lambda backend: True)
    choose_device("cuda", backend="jax")
    assert [os.environ[name] for name in names] == ["as it was"] * 3
    choose_device("cpu", backend="jax")
    assert [os.environ[name] for name in names] == ["", "cpu", "cpu"]
