"""What `from core_torch import ...` gives, as a reader of the README would use it."""

import ast
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

import core_torch
import core_torch.parity
from core_torch import (
    ContractiveLoss,
    DeepAutoencoder,
    DeepConvAutoencoder,
    RandomizedAutoencoder,
    Recipe,
    ResidentDataset,
    ShallowAutoencoder,
    ShallowConvAutoencoder,
    load_split,
    train,
)

ROOT = Path(__file__).parents[2]
WITHOUT_EAGER = {name: value for name, value in os.environ.items() if name != "EAGER_IMPORT"}  # lazy_loader's own

FIVE_LINES = """
from core_torch import Recipe, ResidentDataset, ShallowAutoencoder, load_split, plot_reconstructions, train
digits = ResidentDataset(load_split("digits"))
model = ShallowAutoencoder(code_width=100)
train(model, digits, recipe=Recipe(epochs=1))
plot_reconstructions(model, digits).savefig("digits.png")
"""
MODELS = {
    "shallow": lambda: ShallowAutoencoder(20),
    "deep": lambda: DeepAutoencoder((784, 60, 20)),
    "randomized": lambda: RandomizedAutoencoder((784, 20)),
    "shallow convolutional": lambda: ShallowConvAutoencoder(3, code_width=20),
    "deep convolutional": lambda: DeepConvAutoencoder((2, 3), (3, 3), code_width=20),
}


LAZY_PACKAGES = (core_torch, core_torch.parity)


@pytest.mark.parametrize("name", core_torch.__all__)
def test_every_public_name_is_there(name):
    assert getattr(core_torch, name).__doc__


@pytest.mark.parametrize("package", LAZY_PACKAGES, ids=lambda package: package.__name__)
def test_a_stub_names_what_is_there_and_where_it_lives(package):
    """Read by its own grammar, as a type checker does: `from .home import name as name`, or nothing is exported."""
    stub = ast.parse(Path(package.__file__).with_suffix(".pyi").read_text())
    exported = {alias.asname: node.module for node in stub.body for alias in node.names}
    assert all(alias.asname == alias.name for node in stub.body for alias in node.names)
    assert sorted(exported) == sorted(package.__all__) == sorted(dir(package))
    for name, home in exported.items():
        assert getattr(package, name) is getattr(import_module(f"{package.__name__}.{home}"), name)


@pytest.mark.parametrize("package", ["core_torch", "core_torch.parity.plugin"])
def test_a_package_loads_nothing_before_a_name_is_used(package):
    """The plugin is loaded by every pytest run beside which the package is installed."""
    code = f"import {package}, pytest, sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, cwd=ROOT, env=WITHOUT_EAGER, capture_output=True, text=True, check=True).stdout
    before = subprocess.run([sys.executable, "-c", code.replace(package, "sys")], capture_output=True, text=True).stdout
    assert {*loaded.split()} - {*before.split()} <= {"core_torch", "lazy_loader", *sys.stdlib_module_names}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="core_torch attribute FastMnist"):
        _ = core_torch.FastMnist
    assert {"FastMNIST", "NoisyMNIST"} <= set(dir(core_torch))
    assert {"StreamedDataset", "resident_or_streamed", "ManualSGD"} <= set(dir(core_torch))


def test_five_lines_from_import_to_a_picture(tmp_path):
    path = [str(Path(core_torch.__file__).parents[1])]
    code = f"import sys; sys.path[:0] = {path}\n{FIVE_LINES}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", MODELS)
def test_the_encoder_alone_is_an_embedding(name):
    """It takes what the architecture takes, gives what `encode` gives, and trains below a head of its own."""
    torch.manual_seed(1)  # with other weights a convolution can be dead, and a dead one has no gradient
    model = MODELS[name]()
    images = ResidentDataset(load_split(train=False)).data[:8]
    inputs = images.flatten(1) if model.architecture.input_shape == (784,) else images
    codes = model.encoder(inputs)
    assert codes.shape == (8, 20)
    assert torch.equal(codes, model.encode(images))
    classifier = nn.Sequential(model.encoder, nn.Linear(20, 10))
    classifier(inputs).sum().backward()
    assert next(model.encoder.parameters()).grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.decoder.parameters())


def test_a_model_trains_with_a_criterion_of_its_own():
    digits = ResidentDataset(load_split())
    model = ShallowAutoencoder(20)
    history = train(
        model, digits, recipe=Recipe(epochs=2), criterion=ContractiveLoss(model, weight=1e-3), progress=False
    )
    assert history.train_loss[1] < history.train_loss[0]
