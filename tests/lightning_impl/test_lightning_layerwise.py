"""The randomized models in a Trainer's epochs against `train_randomized`, on the same images."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import load_split
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.spec.architecture import FullyConnected
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import Recipe
from core_torch.training.layer_by_layer.randomized import train_randomized
from core_torch.training.layer_by_layer.ridge import FEATURE_BATCH
from lightning_impl.data import MNISTDataModule
from lightning_impl.model import LitAutoencoder

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
ROUNDING = 1e-5  # relative, of outputs: sums in another order, and contractive codes are ill-conditioned
SHAPES = {"shallow": (784, 60), "deep": (784, 60, 40)}
RECIPE = Recipe(epochs=2, seed=4, validation_fraction=0.0, contraction=1e-4)


def fresh(shape: str) -> Autoencoder:
    return build_autoencoder(FullyConnected(widths=SHAPES[shape], bias=False, output_activation="linear"), seed=4)


def after_core(shape: str, recipe: Recipe, solver: str) -> dict[str, torch.Tensor]:
    model = fresh(shape)
    train_randomized(model, ResidentDataset(load_split("digits")), recipe=recipe, solver=solver, progress=False)
    return model.state_dict()


def trainer(**options: Any) -> L.Trainer:
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return L.Trainer(accelerator="cpu", **dict.fromkeys(names, False), **options)


def fit(
    lit: LitAutoencoder, *, callbacks: Any = None, ckpt_path: Path | None = None, **data: Any
) -> dict[str, torch.Tensor]:
    datamodule = MNISTDataModule(validation_fraction=0.0, seed=lit.recipe.seed, **data)
    trainer(max_epochs=lit.epochs, callbacks=callbacks).fit(lit, datamodule=datamodule, ckpt_path=ckpt_path)
    return lit.model.state_dict()


def after_lightning(shape: str, recipe: Recipe, solver: str, **data: Any) -> dict[str, torch.Tensor]:
    return fit(LitAutoencoder.wrap(fresh(shape), recipe, solver=solver), **data)


class SaveAt(L.Callback):
    """A checkpoint after that batch of that epoch, or after all of them."""

    def __init__(self, path: Path, *, epoch: int, step: int | None) -> None:
        self.path, self.epoch, self.step = path, epoch, step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.step):
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if (trainer.current_epoch, None) == (self.epoch, self.step):
            trainer.save_checkpoint(self.path)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], *, part: str = "") -> bool:
    return all(torch.equal(one[name], other[name]) for name in one if name.startswith(part))


def distance(shape: str, one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Relative, of the outputs for all images."""
    outputs = []
    for weights in (one, other):
        model = fresh(shape)
        model.load_state_dict(weights)
        with torch.no_grad():
            outputs.append(model(ResidentDataset(load_split("digits")).data))
    return float((outputs[0] - outputs[1]).norm() / outputs[1].norm())


@pytest.mark.parametrize("objective", ["standard", "contractive", "denoising"])
@pytest.mark.parametrize("shape", SHAPES)
def test_closed_form_finds_the_same_weights(shape: str, objective: str) -> None:
    recipe = RECIPE.with_changes(objective=objective)
    expected = after_core(shape, recipe, "ridge")
    found = after_lightning(shape, recipe, "ridge", batch_size=FEATURE_BATCH, shuffle=False)
    assert equal(found, expected)
    assert not equal(after_lightning(shape, recipe.with_changes(seed=5), "ridge"), expected)


@pytest.mark.parametrize("objective", ["standard", "contractive"])
def test_the_batches_of_the_closed_form_matter_to_rounding_only(objective: str) -> None:
    recipe = RECIPE.with_changes(objective=objective)
    expected = after_core("deep", recipe, "ridge")
    assert distance("deep", after_lightning("deep", recipe, "ridge", batch_size=100), expected) < ROUNDING
    other = after_core("deep", recipe.with_changes(contraction=1e-3, objective="contractive"), "ridge")
    assert distance("deep", other, expected) > 1e-4


@pytest.mark.parametrize("change", [{}, {"schedule": "one-cycle"}, {"objective": "contractive"}], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_descent_finds_the_same_encoder_and_the_refit_the_same_map(shape: str, change: dict[str, Any]) -> None:
    recipe = RECIPE.with_changes(**change)
    expected = after_core(shape, recipe, "gradient-descent")
    found = after_lightning(shape, recipe, "gradient-descent")
    assert equal(found, expected, part="encoder")
    assert distance(shape, found, expected) < ROUNDING
    other = after_lightning(shape, recipe.with_changes(epochs=1), "gradient-descent")
    assert not equal(other, expected, part="encoder")


def test_denoising_descent_finds_the_same_encoder() -> None:
    recipe = RECIPE.with_changes(objective="denoising")
    found = after_lightning("deep", recipe, "gradient-descent")
    assert equal(found, after_core("deep", recipe, "gradient-descent"), part="encoder")
    assert not equal(found, after_core("deep", RECIPE, "gradient-descent"), part="encoder")


@pytest.mark.parametrize("solver", ["ridge", "gradient-descent"])
def test_a_resumed_layer_ends_as_an_unbroken_one(solver: str, tmp_path: Path) -> None:
    recipe = RECIPE.with_changes(objective="denoising")
    whole = after_lightning("deep", recipe, solver, batch_size=500)
    for epoch, step in ((1, 0), (2, 1)):
        saver = SaveAt(tmp_path / "a.ckpt", epoch=epoch, step=step)
        lit = LitAutoencoder.wrap(fresh("deep"), recipe, solver=solver)
        assert equal(fit(lit, batch_size=500, callbacks=[saver]), whole)
        lit = LitAutoencoder.wrap(fresh("deep"), recipe, solver=solver)
        assert equal(fit(lit, batch_size=500, ckpt_path=saver.path), whole)


def test_a_layer_of_one_epoch_is_not_taken_for_the_one_before_it(tmp_path: Path) -> None:
    recipe, saver = RECIPE.with_changes(epochs=1), SaveAt(tmp_path / "a.ckpt", epoch=0, step=None)
    whole = fit(LitAutoencoder.wrap(fresh("deep"), recipe, solver="gradient-descent"), callbacks=[saver])
    lit = LitAutoencoder.wrap(fresh("deep"), recipe, solver="gradient-descent")
    assert equal(fit(lit, ckpt_path=saver.path), whole)


def test_every_randomized_name_is_trained_by_layers_and_others_are_not() -> None:
    for name in ("randomized-shallow", "randomized-deep"):
        assert LitAutoencoder(name).layerwise
        assert LitAutoencoder(name).hparams.solver == "ridge"
    assert LitAutoencoder("deep").layerwise is None
    with pytest.raises(ConfigError, match="biases"):
        LitAutoencoder("deep", solver="ridge")


def test_another_number_of_epochs_is_refused() -> None:
    lit = LitAutoencoder.wrap(fresh("deep"), RECIPE, solver="ridge")
    with pytest.raises(ConfigError, match="max_epochs: found 3, .* 4"):
        trainer(max_epochs=3).fit(lit, datamodule=MNISTDataModule())
    with pytest.raises(ConfigError, match="max_steps: found 2, .* -1"):
        trainer(max_epochs=4, max_steps=2).fit(lit, datamodule=MNISTDataModule())
