"""metrics.json has the same fields from every port, each run by its command in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAD = ("model", "objective", "dataset", "seed", "epochs")
COMMON = ("--model", "deep", "--objective", "denoising", "--epochs", "2")
QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false")
COMMANDS = {
    "core_torch": ("core_torch", "train", *COMMON, "--no-figures"),
    "keras_impl": ("keras_impl", "train", *COMMON),
    "lightning_impl": (
        *("lightning_impl", "fit", "--model.architecture", "deep", "--model.objective", "denoising"),
        *("--model.epochs", "2", *QUIET),
    ),
}
OWN = {  # what only a port has to say
    "core_torch": set(),
    "keras_impl": {"backend", "pipeline"},
    "lightning_impl": {"train_loss", "validation_mse", "images_per_second"},
}
NOISE = 0.05  # relative: each framework draws its own noise


@pytest.fixture(scope="module")
def metrics(tmp_path_factory) -> Callable[[str], dict]:
    """{field: value} that the command of a port writes."""

    @cache
    def run(port: str) -> dict:
        folder = tmp_path_factory.mktemp(port)
        quiet = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", *COMMANDS[port], "--output", str(folder)]
        finished = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr[-3000:]
        return json.loads((folder / "metrics.json").read_text())

    return run


@pytest.mark.parametrize("port", [port for port in COMMANDS if port != "core_torch"])
def test_a_port_writes_what_the_reference_writes(port, metrics):
    pytest.importorskip({"keras_impl": "jax", "lightning_impl": "lightning"}[port])
    expected, found = metrics("core_torch"), metrics(port)
    assert found.keys() - OWN[port] == expected.keys()
    assert found["history"].keys() == expected["history"].keys()
    assert all(len(curve) == 2 for curve in found["history"].values())
    for name in (*HEAD, "parameters", "test_mse_of_zeros", "test_mse_of_mean", "test_mse_of_pca", "collapsed"):
        assert found[name] == expected[name], name
    for name in ("test_mse", "test_sse", "noisy_test_mse"):
        assert found[name] == pytest.approx(expected[name], rel=NOISE), name
