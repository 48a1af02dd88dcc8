"""Keras ports of PyTorch layers on three backends: weights are matched, right ones pass, a wrong rate is named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from core_torch.parity import record

ROOT = Path(__file__).parents[3]
# Each is a process of its own that imports a framework; one of them is enough for every run.
BACKENDS = [pytest.param("tensorflow", marks=pytest.mark.slow), "jax", pytest.param("torch", marks=pytest.mark.slow)]
NAMES = ("convolution", "lstm", "gru", "attention")


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depth, self.head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.depth(torch.relu(self.stem(x))).mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self, kind) -> None:
        super().__init__()
        self.recurrent, self.head = kind(4, 6, batch_first=True), nn.Linear(6, 2)
        if kind is nn.LSTM:  # Keras has one bias only
            nn.init.zeros_(self.recurrent.bias_hh_l0).requires_grad_(False)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.norm(x)
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


@pytest.fixture(scope="module")
def references(tmp_path_factory) -> Path:
    """A folder with a reference of each model."""
    folder = tmp_path_factory.mktemp("references")
    generator = np.random.default_rng(0)
    torch.manual_seed(0)
    models = (Convolution(), Recurrent(nn.LSTM), Recurrent(nn.GRU), Attention())
    shapes = ((2, 8, 8), (5, 4), (5, 4), (5, 8))
    for name, model, shape in zip(NAMES, models, shapes, strict=True):
        is_image = name == "convolution"
        batches = [
            (
                generator.standard_normal((6, *shape)).astype(np.float32),
                generator.integers(0, 3, 6) if is_image else generator.standard_normal((6, 2)).astype(np.float32),
            )
            for _ in range(5)
        ]
        loss = F.cross_entropy if is_image else F.mse_loss
        sgd = lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9)  # noqa: E731
        record(model, loss=loss, optimizer=sgd, batches=batches, name=name).save(folder / f"{name}.safetensors")
    return folder


@pytest.mark.parametrize("backend", BACKENDS)
def test_right_ports_pass_and_a_wrong_rate_is_named(references, backend, tmp_path):
    environment = {
        "KERAS_BACKEND": backend,
        "KERAS_HOME": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, str(Path(__file__).with_name("keras_ports.py")), str(references)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [row["name"] for row in rows] == list(NAMES)
    for row in rows:
        assert row["right"], row
        assert (row["wrong"], row["bugs"]) == ("one update", ["learning rate halved"]), row
