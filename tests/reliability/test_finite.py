"""NaN or infinity, wherever it comes from, ends training at its step, names its tensor, and reaches no checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import load_split
from core_torch.files.weights import load_arrays
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.spec.architecture import FullyConnected, architecture_named
from core_torch.spec.errors import ConfigError, DivergenceError
from core_torch.spec.recipe import Recipe
from core_torch.training.checkpoints import Checkpoints
from core_torch.training.loop import train
from core_torch.training.monitor import TrainingMonitor

SHALLOW = FullyConnected(widths=(784, 8))
RECIPE = Recipe(epochs=3, batch_size=16, validation_fraction=0)  # 48 images: 3 steps an epoch
STEP, PLACE = 5, "epoch 1: at step 2 "  # counted over the run; and as an error says it
VALUES = [np.nan, np.inf, -np.inf]


def images() -> ResidentDataset:
    return ResidentDataset(load_split("digits").take(np.arange(48)))


class Poison:
    """A criterion that at one step puts a value where it does not belong. `nothing` is its sound twin."""

    def __init__(self, model: Autoencoder, where: str, value: float) -> None:
        self.model, self.where, self.value, self.steps = model, where, value, 0

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        loss = mse_loss(output, target)
        if self.steps != STEP:
            return loss
        if self.where == "the loss":
            return loss + self.value
        if self.where.startswith("the gradient of "):
            parameter = self.model.get_parameter(self.where.removeprefix("the gradient of "))
            parameter.register_hook(lambda gradient: torch.full_like(gradient, self.value))
        elif self.where != "nothing":
            with torch.no_grad():
                self.model.get_parameter(self.where).view(-1)[3] = self.value
        return loss


def trained(where: str, value: float, *, folder: Path, optimizer: str = "adam") -> Poison:
    model = build_autoencoder(SHALLOW)
    poison, recipe = Poison(model, where, value), RECIPE.with_changes(optimizer=optimizer)
    checkpoints = Checkpoints(folder, every=1)
    train(model, images(), recipe=recipe, criterion=poison, progress=False, checkpoints=checkpoints)
    return poison


def place_of(folder: Path) -> tuple:
    manifest = load_arrays(folder)[1]
    return manifest["epoch"], manifest["steps"]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    "where", ["the loss", "the gradient of decoder.0.bias", "the gradient of encoder.0.weight", "encoder.0.bias"]
)
def test_it_ends_training_at_its_step_and_the_last_good_checkpoint_stays(tmp_path, where, optimizer, value):
    with pytest.raises(DivergenceError) as caught:
        trained(where, value, folder=tmp_path, optimizer=optimizer)
    assert str(caught.value) == f"{PLACE}{where} is not finite; lower the learning_rate"
    assert place_of(tmp_path) == (1, 1)


def ends_by_itself(where: str, value: float) -> bool:
    """Whether a plain loop of PyTorch's ends at such a value."""
    model, dataset = build_autoencoder(SHALLOW), images()
    poison, optimizer = Poison(model, where, value), torch.optim.Adam(model.parameters())
    for epoch in range(RECIPE.epochs):
        for inputs, targets in dataset.batches(RECIPE.batch_size, epoch=epoch):
            optimizer.zero_grad()
            poison(model(inputs), targets).backward()
            optimizer.step()
    return poison.steps < 9


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_every_tensor_at_every_value_by_every_optimizer(tmp_path, tally):
    names = [name for name, _ in build_autoencoder(SHALLOW).named_parameters()]
    biases = [name for name in names if name.endswith("bias")]  # a weight may not change between forward and backward
    places = ["the loss", *biases, *(f"the gradient of {name}" for name in names)]
    tried = failed = went_on = 0
    for optimizer in ("sgd", "adam", "adamw"):
        for where in places:
            for value in VALUES:
                folder, tried = tmp_path / f"{tried}", tried + 1
                try:
                    trained(where, value, folder=folder, optimizer=optimizer)
                    failed += 1
                except DivergenceError as error:
                    failed += not str(error).startswith(f"{PLACE}{where} is not finite") or place_of(folder) != (1, 1)
                went_on += not ends_by_itself(where, value)
    others = f"a plain loop: {went_on} of {tried} train on"
    tally.add("values that are not finite", tried=tried, failed=failed, baseline=others)
    assert failed == 0


def test_a_sound_run_is_not_ended(tmp_path):
    assert trained("nothing", np.nan, folder=tmp_path).steps == 9
    assert place_of(tmp_path) == (3, 0)


@pytest.mark.parametrize("value", VALUES)
def test_an_infinite_weight_that_the_loss_does_not_show_is_found_too(value):
    """A saturated sigmoid hides it: its output is 0 or 1, its gradient 0."""
    model = build_autoencoder(SHALLOW)
    monitor = TrainingMonitor(model)
    with torch.no_grad():
        model.decoder[0].bias[3] = value
    loss = mse_loss(model(images().data), images().targets)
    assert loss.isfinite() or np.isnan(value)
    with pytest.raises(DivergenceError, match="decoder.0.bias is not finite"):
        monitor.step()


@pytest.mark.parametrize("name", ["conv-shallow", "conv-deep"])
def test_every_weight_of_a_convolution_is_seen(name):
    model = build_autoencoder(architecture_named(name))
    monitor = TrainingMonitor(model)
    monitor.step()
    for place in (0, -1):
        with torch.no_grad():
            weight = model.encoder[0].weight
            before = weight.data[(place,) * 4].clone()
            weight.data[(place,) * 4] = np.nan
        with pytest.raises(DivergenceError, match=r"encoder\.0\.weight is not finite"):
            monitor.step()
        with torch.no_grad():
            weight.data[(place,) * 4] = before


def test_weights_whose_squares_add_up_to_infinity_are_finite():
    model = build_autoencoder(SHALLOW)
    monitor = TrainingMonitor(model)
    with torch.no_grad():
        model.decoder[0].bias[:] = 3e38
    monitor.step()


@pytest.mark.parametrize("value", VALUES)
def test_an_image_that_is_not_finite_is_named(value):
    """The datasets refuse one when they are made; here it comes later."""
    dataset = images()
    dataset.data[20, 0, 5, 5] = value
    with pytest.raises(DivergenceError, match=r"^epoch 0: at step [123] the input is not finite$"):
        train(build_autoencoder(SHALLOW), dataset, recipe=RECIPE, progress=False)


def test_a_dataset_that_is_not_finite_is_refused():
    dataset = images()
    with pytest.raises(ConfigError, match="not finite"):
        dataset._place(torch.full((2, 1, 28, 28), torch.inf), dataset.labels, device="cpu", residency="float32")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_rate_that_overflows_is_named_by_step_and_tensor(tmp_path, optimizer):
    recipe = RECIPE.with_changes(learning_rate=1e25, optimizer=optimizer)
    model = build_autoencoder(FullyConnected(widths=(784, 8), output_activation="linear"))
    named = r"(the loss|\S*coder\S*|the gradient of \S*) is not finite; lower"
    with pytest.raises(DivergenceError, match=rf"^epoch 0: at step \d {named}"):
        train(model, images(), recipe=recipe, progress=False, checkpoints=Checkpoints(tmp_path, every=1))
    assert place_of(tmp_path)[0] == 0


class OffHost(TrainingMonitor):
    """As on an accelerator: nothing is read while an epoch runs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.on_host = False


@pytest.mark.parametrize("where", ["the loss", "the gradient of decoder.0.bias", "encoder.0.bias"])
def test_where_the_host_does_not_wait_it_is_found_by_the_next_checkpoint_or_the_end_of_the_epoch(
    tmp_path, monkeypatch, where
):
    monkeypatch.setattr("core_torch.training.loop.TrainingMonitor", OffHost)
    with pytest.raises(DivergenceError, match="^epoch 1: at step 2 .* is not finite"):
        trained(where, np.nan, folder=tmp_path / "each step")
    assert place_of(tmp_path / "each step") == (1, 1)
    with pytest.raises(DivergenceError, match="^epoch 1: at step 3 .* is not finite"):
        model = build_autoencoder(SHALLOW)
        train(model, images(), recipe=RECIPE, criterion=Poison(model, where, np.nan), progress=False)
