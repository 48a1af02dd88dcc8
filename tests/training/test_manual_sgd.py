"""The step written out is the readable loop's, to rounding."""

import pytest
import torch

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import load_split
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.spec.architecture import architecture_named
from core_torch.spec.errors import ConfigError, DivergenceError
from core_torch.spec.recipe import Recipe
from core_torch.training.loop import build_optimizer, train_epoch
from core_torch.training.manual_sgd import ManualSGD

EPOCHS = 4  # of five steps, the last one short
RECIPE = Recipe(optimizer="sgd", learning_rate=0.5, momentum=0.9, batch_size=300)
MODELS = {
    "shallow": architecture_named("shallow"),
    "deep": architecture_named("deep"),
    "no biases, linear output": architecture_named("randomized-shallow"),
    "tanh and a linear code": architecture_named("deep", hidden_activation="tanh", code_activation="linear"),
}


@pytest.fixture(scope="module")
def digits() -> ResidentDataset:
    return ResidentDataset(load_split("digits"))


def trained(digits: ResidentDataset, architecture, recipe: Recipe, *, by_hand: bool) -> tuple[Autoencoder, list[float]]:
    """In float64, in which rounding cannot hide a wrong formula."""
    model = build_autoencoder(architecture, seed=0).double()
    steps = ManualSGD(model, recipe) if by_hand else None
    optimizer, losses = build_optimizer(model, recipe), []
    for epoch in range(EPOCHS):
        batches = [(x.double(), y.double()) for x, y in digits.batches(recipe.batch_size, epoch=epoch)]
        if steps is not None:
            losses.append(steps.run(batches))
        else:
            losses.append(train_epoch(model, batches, criterion=torch.nn.MSELoss(), optimizer=optimizer))
    return model, losses


def distance(one: Autoencoder, two: Autoencoder, architecture) -> float:
    """The largest relative difference of a parameter's update."""
    start = build_autoencoder(architecture, seed=0).double()
    return max(
        float((a - b).detach().norm() / (b - s).detach().norm()) if (b - s).any() else float((a - b).detach().norm())
        for a, b, s in zip(one.parameters(), two.parameters(), start.parameters())
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("momentum", [0.9, 0.3, 0.0])  # of 0.3 the unit is begun anew within 20 steps
def test_weights_and_losses_are_those_of_the_loop(digits, name, momentum):
    recipe = RECIPE.with_changes(momentum=momentum, learning_rate=0.01 if "linear" in name else 0.5)
    ends = [trained(digits, MODELS[name], recipe, by_hand=by_hand) for by_hand in (True, False)]
    (one, losses), (two, expected) = ends
    assert losses == pytest.approx(expected, rel=1e-12)
    assert distance(one, two, MODELS[name]) < 1e-10


@pytest.mark.parametrize("change", [{"learning_rate": 0.5001}, {"momentum": 0.9001}])
def test_a_formula_that_is_slightly_off_would_be_seen(digits, change):
    one, _ = trained(digits, MODELS["shallow"], RECIPE.with_changes(**change), by_hand=True)
    two, _ = trained(digits, MODELS["shallow"], RECIPE, by_hand=False)
    assert distance(one, two, MODELS["shallow"]) > 1e-5


def test_in_float32_the_difference_is_rounding(digits):
    models = [build_autoencoder(MODELS["shallow"], seed=0) for _ in range(2)]
    steps, optimizer = ManualSGD(models[0], RECIPE), build_optimizer(models[1], RECIPE)
    steps.run(digits.batches(300))
    train_epoch(models[1], digits.batches(300), criterion=torch.nn.MSELoss(), optimizer=optimizer)
    assert distance(*(model.double() for model in models), MODELS["shallow"]) < 1e-4


def test_a_learning_rate_holds_from_the_next_step_on(digits):
    model = build_autoencoder(MODELS["shallow"], seed=0)
    steps = ManualSGD(model, RECIPE)
    steps.learning_rate = 0.0
    before = [parameter.clone() for parameter in model.parameters()]
    steps.run(digits.batches(300))
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters()))


@pytest.mark.parametrize(
    ("model", "recipe", "told"),
    [
        (architecture_named("conv-shallow"), RECIPE, "model: found one that is not fully connected"),
        (architecture_named("shallow", tied=True), RECIPE, "model: found one that is not fully connected, or tied"),
        (architecture_named("shallow", code_activation="silu"), RECIPE, "activation: found SiLU"),
        (architecture_named("shallow"), Recipe(), "optimizer: found adam"),
        (architecture_named("shallow"), RECIPE.with_changes(objective="denoising"), "objective: found denoising"),
        (architecture_named("shallow"), RECIPE.with_changes(schedule="one-cycle"), "schedule: found one-cycle"),
        (architecture_named("shallow"), RECIPE.with_changes(nesterov=True), "nesterov: found True"),
        (architecture_named("shallow"), RECIPE.with_changes(momentum=1e-44), "momentum: found 1e-44"),
    ],
)
def test_what_is_not_written_out_is_refused(model, recipe, told):
    with pytest.raises(ConfigError, match=told):
        ManualSGD(build_autoencoder(model), recipe)


def test_a_batch_beyond_the_recipes_is_refused(digits):
    with pytest.raises(ConfigError, match="batch: found 400 images, allowed by the recipe's batch_size: 300"):
        ManualSGD(build_autoencoder(MODELS["shallow"]), RECIPE).run(digits.batches(400))


@pytest.mark.parametrize(("images", "targets"), [(16, (1, 784)), (16, (16, 1)), (16, (784,)), (0, (0, 784))])
def test_targets_that_would_be_broadcast_and_no_images_are_refused(images, targets):
    model = build_autoencoder(MODELS["shallow"])
    before = [weight.clone() for weight in model.parameters()]
    with pytest.raises(ConfigError, match="targets: found|images: found 0"):
        ManualSGD(model, RECIPE).step(torch.zeros(images, 784), torch.zeros(targets))
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters()))


def test_a_frozen_weight_is_refused():
    model = build_autoencoder(MODELS["shallow"])
    model.encoder.requires_grad_(False)
    with pytest.raises(ConfigError, match="frozen"):
        ManualSGD(model, RECIPE)


def test_an_epoch_without_images_or_with_infinite_loss_is_refused(digits):
    with pytest.raises(ConfigError, match="pixels"):
        ManualSGD(build_autoencoder(MODELS["shallow"]), RECIPE).run([])
    model = build_autoencoder(MODELS["no biases, linear output"])
    with pytest.raises(DivergenceError, match="learning_rate"):
        ManualSGD(model, RECIPE.with_changes(learning_rate=1e20)).run(digits.batches(300))


@pytest.mark.parametrize("value", [torch.inf, -torch.inf])
def test_an_infinite_weight_that_the_loss_does_not_show_is_found(digits, value):
    model = build_autoencoder(MODELS["shallow"])
    steps = ManualSGD(model, RECIPE)
    with torch.no_grad():
        model.decoder[0].bias[3] = value  # its sigmoid is 0 or 1, and its gradient 0
    with pytest.raises(DivergenceError, match="a weight is not finite"):
        steps.run(digits.batches(300))
