"""Each layer is trained on exactly what the deep model feeds it."""

import numpy as np
import pytest
import torch

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import load_split
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.models.randomized import RandomizedAutoencoder
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.spec.architecture import Convolutional, FullyConnected
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import OBJECTIVES, Recipe
from core_torch.training.layer_by_layer import pairs, pretraining, randomized
from core_torch.training.layer_by_layer.pairs import layer_inputs, layer_pair
from core_torch.training.layer_by_layer.pretraining import pretrain
from core_torch.training.layer_by_layer.randomized import train_randomized

WIDTHS = (784, 60, 30, 10)
BRIEF = Recipe(epochs=3, batch_size=64)


@pytest.fixture(scope="module")
def digits() -> ResidentDataset:
    return ResidentDataset(load_split("digits"))


@pytest.fixture
def model() -> Autoencoder:
    """The deep model with an activation of its own at each place."""
    return build_autoencoder(FullyConnected(widths=WIDTHS, hidden_activation="silu", code_activation="linear"))


def fed_to(model: Autoencoder, index: int, images: torch.Tensor) -> torch.Tensor:
    """What encoder layer `index` receives while the whole model runs."""
    received = []
    handle = model.encoder[2 * index].register_forward_pre_hook(lambda _, inputs: received.append(inputs[0]))
    with torch.no_grad():
        model(images)
    handle.remove()
    return received[0]


@pytest.mark.parametrize("is_randomized", [False, True])
def test_a_layer_learns_from_what_the_deep_model_feeds_it(is_randomized, digits, monkeypatch):
    model = RandomizedAutoencoder(WIDTHS) if is_randomized else build_autoencoder(FullyConnected(widths=WIDTHS))
    seen: dict[int, ResidentDataset] = {}
    original = pairs.layer_inputs

    def watch(model: Autoencoder, index: int, dataset: ResidentDataset) -> ResidentDataset:
        seen[index] = original(model, index, dataset)
        return seen[index]

    monkeypatch.setattr(randomized if is_randomized else pretraining, "layer_inputs", watch)
    if is_randomized:
        train_randomized(model, digits)
    else:
        pretrain(model, digits, recipe=BRIEF.with_changes(epochs=1), progress=False)
    images = digits.data[:1000]  # one batch of the evaluation's size, so that even rounding is the same
    for index in (1, 2):
        fed = fed_to(model, index, images)
        assert torch.equal(seen[index].data[:1000], fed)
        assert torch.equal(seen[index].targets[:1000], fed)
        assert not torch.allclose(seen[index].data[:1000].sigmoid(), fed, atol=0.01)  # the original's extra sigmoid


def test_the_pairs_are_the_models_own_layers_with_its_own_activations(model):
    found = [layer_pair(model, index) for index in range(3)]
    assert [pair.architecture.widths for pair in found] == [(784, 60), (60, 30), (30, 10)]
    assert [pair.architecture.code_activation for pair in found] == ["silu", "silu", "linear"]
    assert [pair.architecture.output_activation for pair in found] == ["sigmoid", "silu", "silu"]
    for index, pair in enumerate(found):
        assert list(pair.encoder) == list(model.encoder[2 * index : 2 * index + 2])
        assert list(pair.decoder) == list(model.decoder[4 - 2 * index : 6 - 2 * index])


def test_nested_pairs_compose_to_the_model(model, digits):
    code = images = digits.targets[:5]
    found = [layer_pair(model, index) for index in range(3)]
    for pair in found:
        code = pair.encode(code)
    for pair in reversed(found):
        code = pair.decode(code)
    assert torch.equal(code, model(images))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pretraining_lowers_the_error_and_moves_every_weight(objective, tied, digits):
    model = build_autoencoder(FullyConnected(widths=(784, 60, 10), tied=tied))
    start, error = [parameter.detach().clone() for parameter in model.parameters()], mean_squared_error(model, digits)
    histories = pretrain(model, digits, recipe=BRIEF.with_changes(objective=objective), progress=False)
    assert len(histories) == 2
    assert all(history.validation_mse[-1] < history.validation_mse[0] for history in histories)
    assert mean_squared_error(model, digits) < error
    assert not any(torch.equal(before, after) for before, after in zip(start, model.parameters()))


@pytest.mark.parametrize(
    ("objective", "expected"),
    [("denoising", ["denoising", "standard", "standard"]), ("contractive", ["contractive"] * 3)],
)
def test_denoising_corrupts_only_images(objective, expected, model, digits, monkeypatch):
    objectives = []
    monkeypatch.setattr(pretraining, "train", lambda *_, recipe, **__: objectives.append(recipe.objective))
    pretrain(model, digits, recipe=BRIEF.with_changes(objective=objective))
    assert objectives == expected


def test_upper_layers_learn_from_clean_images_where_the_first_has_noisy_ones(model, digits):
    noisy = digits.subset(np.arange(50))
    noisy.data = torch.zeros_like(noisy.data)
    assert layer_inputs(model, 0, noisy) is noisy
    upper = layer_inputs(model, 1, noisy)
    assert torch.equal(upper.data, fed_to(model, 1, digits.data[:50]))
    assert not torch.allclose(upper.data, fed_to(model, 1, noisy.data))


def test_what_has_no_dense_layers_or_finite_data_is_refused(model, digits):
    with pytest.raises(ConfigError, match="Convolutional"):
        pretrain(Autoencoder(Convolutional()), digits)
    broken = digits.subset(np.arange(10))
    broken.data[0] = float("inf")
    with pytest.raises(ConfigError, match="data"):
        pretrain(model, broken)
