"""Models trained together are the models trained one by one."""

from dataclasses import replace

import pytest
import torch

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import load_split
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.spec.architecture import architecture_named
from core_torch.spec.errors import ConfigError, DivergenceError
from core_torch.spec.recipe import Recipe
from core_torch.training.ensemble import Ensemble, train_ensemble
from core_torch.training.loop import History, train

RATES = (1e-3, 3e-3, 1e-2)
RECIPE = Recipe(epochs=2, batch_size=200)
RECIPES = {
    "shallow by adam": ("shallow", RECIPE),
    "deep by momentum": ("deep", replace(RECIPE, optimizer="sgd", momentum=0.9)),
    "one cycle": ("shallow", replace(RECIPE, schedule="one-cycle")),
    "decay": ("shallow", replace(RECIPE, optimizer="adamw", weight_decay=0.1)),
    "no validation": ("shallow", replace(RECIPE, validation_fraction=0.0)),
    "noise": ("shallow", replace(RECIPE, objective="denoising", corruption="masking")),
    "convolutional": ("conv-shallow", replace(RECIPE, epochs=1)),
}


@pytest.fixture(scope="module")
def digits() -> ResidentDataset:
    return ResidentDataset(load_split("digits"))


def variants(recipe: Recipe) -> list[Recipe]:
    return [replace(recipe, seed=seed, learning_rate=rate) for seed, rate in enumerate(RATES)]


def fresh(model: str, recipes: list[Recipe]) -> list[Autoencoder]:
    return [build_autoencoder(architecture_named(model), seed=recipe.seed) for recipe in recipes]


def apart(one: Autoencoder, other: Autoencoder) -> float:
    """Relative distance of all weights."""
    first, second = (torch.cat([weight.flatten() for weight in model.state_dict().values()]) for model in (one, other))
    return float((first - second).norm() / first.norm())


def both_ways(digits: ResidentDataset, name: str) -> tuple[list[Autoencoder], list[Autoencoder], list[list[History]]]:
    model, recipe = RECIPES[name]
    recipes = variants(recipe)
    alone, together = fresh(model, recipes), fresh(model, recipes)
    histories = [
        [train(each, digits, recipe=one, progress=False) for each, one in zip(alone, recipes)],
        train_ensemble(together, digits, recipes=recipes),
    ]
    return alone, together, histories


@pytest.mark.parametrize("name", RECIPES)
def test_together_is_one_by_one(digits, name):
    alone, together, (one_by_one, at_once) = both_ways(digits, name)
    for first, second in zip(alone, together):
        assert apart(first, second) < 1e-4
    for first, second in zip(one_by_one, at_once):
        assert second.curves().keys() == first.curves().keys()
        for curve, values in first.curves().items():
            assert second.curves()[curve] == pytest.approx(values, rel=1e-4)


def test_each_has_noise_of_its_own(digits):
    noisy = replace(RECIPE, objective="denoising")
    levels = [("gaussian", 0.1), ("gaussian", 0.4), ("masking", 0.3), ("salt-and-pepper", 0.2)]
    recipes = [replace(noisy, corruption=kind, corruption_level=level) for kind, level in levels]
    alone, together = fresh("shallow", recipes), fresh("shallow", recipes)
    for model, recipe in zip(alone, recipes):
        train(model, digits, recipe=recipe, progress=False)
    train_ensemble(together, digits, recipes=recipes)
    assert max(apart(*pair) for pair in zip(alone, together)) < 1e-4
    assert min(apart(alone[0], other) for other in alone[1:]) > 1e-3


def test_the_comparison_can_fail(digits):
    recipes = variants(RECIPE)
    alone, together = fresh("shallow", recipes), fresh("shallow", recipes)
    for model, recipe in zip(alone, recipes):
        train(model, digits, recipe=recipe, progress=False)
    train_ensemble(together, digits, recipes=[replace(recipe, learning_rate=1.01e-3) for recipe in recipes])
    assert min(apart(*pair) for pair in zip(alone, together)) > 1e-4


def test_the_models_are_used_as_before(digits):
    recipes = variants(RECIPE)
    models = fresh("shallow", recipes)
    train_ensemble(models, digits, recipes=recipes)
    before = [model(digits.data[:5]) for model in models]
    train(models[0], digits, recipe=RECIPE, progress=False)
    assert not torch.equal(models[0](digits.data[:5]), before[0])
    assert torch.equal(models[1](digits.data[:5]), before[1])


REFUSED = {
    "no model": ([], [], "recipes: found 0 for 0"),
    "a recipe too few": (["shallow"] * 2, [RECIPE], "recipes: found 1 for 2"),
    "two architectures": (["shallow", "deep"], [RECIPE] * 2, "different architectures"),
    "two batch sizes": (["shallow"] * 2, [RECIPE, replace(RECIPE, batch_size=9)], "differ elsewhere"),
    "a penalty": (["shallow"], [replace(RECIPE, objective="contractive")], "found contractive"),
    "patience": (["shallow"], [replace(RECIPE, patience=2)], "patience: found 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_together_is_refused(digits, case):
    names, recipes, said = REFUSED[case]
    models = [build_autoencoder(architecture_named(name), seed=0) for name in names]
    with pytest.raises(ConfigError, match=said):
        train_ensemble(models, digits, recipes=recipes)


def test_weights_that_would_not_be_trained_alike_are_refused(digits):
    model, frozen, double = fresh("shallow", variants(RECIPE))
    frozen.encoder.requires_grad_(False)
    for models in ([model, model], [model, frozen], [model, double.double()]):
        with pytest.raises(ConfigError, match="models: found"):
            train_ensemble(models, digits, recipes=[RECIPE] * 2)


@pytest.mark.parametrize("rate", [1e25, 1e30])  # the loss; weights as well
def test_one_that_diverges_does_not_stop_the_others(digits, rate):
    recipes = [RECIPE, replace(RECIPE, optimizer="adam", learning_rate=rate), replace(RECIPE, seed=1)]
    alone, together = fresh("shallow", recipes), fresh("shallow", recipes)
    first, diverged, last = train_ensemble(together, digits, recipes=recipes)
    assert isinstance(diverged, DivergenceError)
    assert isinstance(first, History) and isinstance(last, History)
    train(alone[2], digits, recipe=recipes[2], progress=False)
    assert apart(alone[2], together[2]) < 1e-4


def test_of_which_models_all_weights_are_finite_is_known(digits):
    recipes = variants(RECIPE)
    ensemble = Ensemble(fresh("shallow", recipes), digits, recipes, steps=1)
    assert ensemble.are_finite().tolist() == [True, True, True]
    ensemble.weights["decoder.0.weight"][1, 7, 3] = torch.inf
    ensemble.weights["encoder.0.bias"][2, 0] = torch.nan
    assert ensemble.are_finite().tolist() == [True, False, False]


def test_a_weight_that_is_not_finite_diverges(digits, monkeypatch):
    monkeypatch.setattr(Ensemble, "are_finite", lambda self: torch.tensor([True, False]))
    recipes = variants(RECIPE)[:2]
    first, second = train_ensemble(fresh("shallow", recipes), digits, recipes=recipes)
    assert isinstance(first, History)
    assert "a weight is not finite" in str(second)


def test_every_model_has_memory_of_its_own_again(digits):
    recipes = variants(RECIPE)
    models = fresh("shallow", recipes)
    train_ensemble(models, digits, recipes=recipes)
    for model in models:
        for weight in model.parameters():
            assert weight.untyped_storage().nbytes() == weight.nbytes
            assert weight.grad is None
