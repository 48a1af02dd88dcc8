"""What any port writes every other reads: twenty directed pairs, outputs within 1e-6."""

import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
CLOSE = 1e-6  # largest difference of a pixel in [0, 1]
IMAGES = 100
TRAIN = ("train", "--model", "conv-shallow", "--epochs", "1", "--output")
FIT = ("fit", "--model.architecture", "conv-shallow", "--model.epochs", "1", "--output")
KERAS_READER = """
import sys, numpy as np
from pathlib import Path
from core_torch.files.splits import load_split
from keras_impl.data import unit_pixels
from keras_impl.checkpoint import load_checkpoint
images = unit_pixels(load_split("digits", train=False))[:{count}]
for folder in map(Path, sys.argv[2:]):
    model, *_ = load_checkpoint(folder)
    np.save(folder / sys.argv[1], model.predict(images, verbose=0))
"""
TORCH_READER = """
import sys, numpy as np, torch
from pathlib import Path
from core_torch import ResidentDataset, load_split
{how}
images = ResidentDataset(load_split("digits", train=False)).data[:{count}]
for folder in map(Path, sys.argv[2:]):
    with torch.no_grad():
        np.save(folder / sys.argv[1], load(folder).eval()(images).numpy())
"""
CORE = "from core_torch.models.checkpoint import load_checkpoint\nload = lambda folder: load_checkpoint(folder)[0]"
LIGHTNING = "from lightning_impl.model import LitAutoencoder\nload = lambda folder: LitAutoencoder(weights=str(folder))"
PORTS: dict[str, tuple[tuple[str, ...], str]] = {  # {port: (what writes, what reads)}
    "core_torch": (("core_torch", *TRAIN), TORCH_READER.format(how=CORE, count=IMAGES)),
    "lightning_impl": (("lightning_impl", *FIT), TORCH_READER.format(how=LIGHTNING, count=IMAGES)),
    **{
        f"keras {backend}": (("keras_impl", *TRAIN), KERAS_READER.format(count=IMAGES))
        for backend in ("tensorflow", "jax", "torch")
    },
}


def run(port: str, *arguments: str) -> None:
    backend = {"KERAS_BACKEND": port.split()[1]} if " " in port else {}
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment | backend, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{port}: {done.stderr[-2000:]}"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> dict[tuple[str, str], np.ndarray]:
    """{(writer, reader): reconstructions}."""
    folders = {port: tmp_path_factory.mktemp(port.replace(" ", "-")) for port in PORTS}
    for port, (writer, _) in PORTS.items():
        run(port, "-m", *writer, str(folders[port]))
    for port, (_, reader) in PORTS.items():
        run(port, "-c", reader, f"{port}.npy", *map(str, folders.values()))
    return {(writer, reader): np.load(folders[writer] / f"{reader}.npy") for writer in PORTS for reader in PORTS}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("writer", "reader"), [*permutations(PORTS, 2)])
def test_a_pair_computes_the_same(outputs, writer, reader):
    assert np.abs(outputs[writer, reader] - outputs[writer, writer]).max() < CLOSE


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_comparison_can_fail(outputs):
    trained = outputs["core_torch", "core_torch"]
    assert np.abs(np.roll(trained, 1, axis=0) - trained).max() > CLOSE  # a reader that mixes images up
    assert np.abs(trained * (1 + 1e-5) - trained).max() > CLOSE  # or is a little off
