"""Presets are complete and valid, and all eighteen ways to train an autoencoder work on the digits."""

import numpy as np
import pytest

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import load_split, pixel_rows
from core_torch.models.autoencoder import build_autoencoder, to_reference_weights
from core_torch.models.checkpoint import load_checkpoint, save_checkpoint
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.spec.architecture import ARCHITECTURES, FullyConnected
from core_torch.spec.baselines import constant_predictors, is_collapsed
from core_torch.spec.errors import ConfigError
from core_torch.spec.presets import PRESETS, preset
from core_torch.spec.recipe import OBJECTIVES, Recipe
from core_torch.training.loop import train

EIGHTEEN = [(model, objective) for model in ARCHITECTURES for objective in OBJECTIVES]


@pytest.mark.parametrize(("model", "objective"), EIGHTEEN)
def test_every_model_and_objective_has_a_default_and_a_best(model, objective):
    assert preset("default", model, objective) == (ARCHITECTURES[model], Recipe(objective=objective))
    architecture, recipe = preset("best", model, objective)
    assert recipe.objective == objective
    assert recipe.schedule == "one-cycle"
    assert type(architecture) is type(ARCHITECTURES[model])


def test_every_entry_is_valid():
    for name, entries in PRESETS.items():
        for model, objective in entries:
            assert preset(name, model, objective)[1].objective == objective


def test_an_entry_of_its_own_comes_before_the_standard_one():
    assert preset("best", "shallow", "contractive")[0] == FullyConnected(
        widths=(784, 300), code_activation="sigmoid", tied=True
    )
    assert preset("best", "shallow", "denoising")[0] == ARCHITECTURES["shallow"]


def test_what_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"^preset: found 'bset' \(did you mean best\?\), allowed: default"):
        preset("bset", "shallow", "standard")
    with pytest.raises(ConfigError, match="^model: found 'shalow'"):
        preset("best", "shalow", "standard")
    with pytest.raises(ConfigError, match="^objective: found 'denoise'"):
        preset("best", "shallow", "denoise")
    with pytest.raises(ConfigError, match="^model: found shallow, allowed with preset dcec: conv-deep$"):
        preset("dcec", "shallow", "standard")


@pytest.mark.parametrize(("model", "objective"), EIGHTEEN)
def test_all_eighteen_train_save_load_and_beat_the_mean(model, objective, tmp_path):
    """A few hundred steps of the best preset. The randomized models are trained here as ordinary ones."""
    split, test = load_split().take(np.arange(400)), load_split(train=False)
    architecture, recipe = preset("best", model, objective)
    recipe = recipe.with_changes(epochs=8, batch_size=16)
    autoencoder = build_autoencoder(architecture)
    history = train(autoencoder, ResidentDataset(split), recipe=recipe, progress=False)
    assert history.train_loss[-1] < history.train_loss[0]

    error = mean_squared_error(autoencoder, ResidentDataset(test))
    constants = constant_predictors(pixel_rows(split), pixel_rows(test))
    assert error < constants["per-pixel mean"]
    assert not is_collapsed(error, constants)

    save_checkpoint(tmp_path, autoencoder, recipe=recipe, name=model, dataset="digits")
    loaded, loaded_recipe, manifest = load_checkpoint(tmp_path)
    assert (loaded.architecture, loaded_recipe, manifest["model"]) == (architecture, recipe, model)
    before, after = to_reference_weights(autoencoder), to_reference_weights(loaded)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert mean_squared_error(loaded, ResidentDataset(test)) == error


def test_a_model_that_learnt_nothing_does_not_beat_the_mean():
    """The twin of the test above: at a learning rate of nearly nothing it fails."""
    split, test = load_split().take(np.arange(400)), load_split(train=False)
    architecture, recipe = preset("best", "shallow", "standard")
    model = build_autoencoder(architecture)
    recipe = recipe.with_changes(epochs=2, learning_rate=1e-9)
    train(model, ResidentDataset(split), recipe=recipe, progress=False)
    constants = constant_predictors(pixel_rows(split), pixel_rows(test))
    assert mean_squared_error(model, ResidentDataset(test)) > constants["per-pixel mean"]
