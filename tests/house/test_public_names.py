"""What `from core_torch import ...` gives, as a reader of the README would use it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import core_torch
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


@pytest.mark.parametrize("name", core_torch.__all__)
def test_every_public_name_is_there(name):
    assert getattr(core_torch, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'FastMnist'"):
        _ = core_torch.FastMnist
    assert {"FastMNIST", "NoisyMNIST"} <= set(dir(core_torch))
    assert {"StreamedDataset", "resident_or_streamed", "StepsByHand"} <= set(dir(core_torch))


def test_five_lines_from_import_to_a_picture(tmp_path):
    path = [str(Path(core_torch.__file__).parents[1])]
    code = f"import sys; sys.path[:0] = {path}\n{FIVE_LINES}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", MODELS)
def test_the_encoder_alone_is_an_embedding(name):
    """It takes what the architecture takes, gives what `encode` gives, and trains below a head of its own."""
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
