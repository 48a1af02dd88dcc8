"""Lightning's loop against the readable loop: the same weights, bit for bit, on the CPU."""

from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from core_torch.contract.architecture import ARCHITECTURES, FullyConnected, describe
from core_torch.contract.errors import CheckpointError, ConfigError
from core_torch.contract.pixels import load_split
from core_torch.contract.recipe import Recipe
from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.training.loop import build_corruption, build_criterion, build_optimizer, train, train_epoch
from lightning_impl.callbacks import EpochTimer
from lightning_impl.checkpoint_io import AtomicCheckpointIO, check_readable
from lightning_impl.datamodule import EpochOrder, MNISTDataModule, ResidentBatches
from lightning_impl.module import LitAutoencoder

IMAGES = 1000
RECIPE = Recipe(optimizer="sgd", learning_rate=0.5, momentum=0.9, batch_size=128, epochs=2, seed=3)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def digits() -> ResidentDataset:
    return ResidentDataset(load_split("digits").take(np.arange(IMAGES)))


def fresh(model: str) -> Autoencoder:
    return build_autoencoder(ARCHITECTURES[model], seed=RECIPE.seed)


def after_core(model: str, recipe: Recipe, *, epochs: int = 1) -> dict[str, torch.Tensor]:
    network, dataset = fresh(model), digits()
    criterion, optimizer = build_criterion(network, recipe), build_optimizer(network, recipe)
    corrupt = build_corruption(recipe, dataset.device)
    for epoch in range(epochs):
        batches = dataset.batches(recipe.batch_size, seed=recipe.seed, epoch=epoch)
        train_epoch(network, batches, criterion=criterion, optimizer=optimizer, corrupt=corrupt)
    return network.state_dict()


def after_lightning(model: str, recipe: Recipe, *, epochs: int = 1) -> dict[str, torch.Tensor]:
    lit = LitAutoencoder.wrap(fresh(model), recipe)
    order = EpochOrder(IMAGES, seed=recipe.seed)
    batches = ResidentBatches(digits(), recipe.batch_size, sampler=order)
    L.Trainer(barebones=True, max_epochs=epochs, accelerator="cpu").fit(lit, batches)
    return lit.model.state_dict()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def trainer(**options: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(**({"accelerator": "cpu", "enable_checkpointing": False} | quiet | options))


@pytest.mark.parametrize("objective", ["standard", "denoising", "contractive"])
@pytest.mark.parametrize("model", ["shallow", "deep", "conv-shallow"])
def test_an_epoch_leaves_the_same_weights(model: str, objective: str) -> None:
    recipe = RECIPE.with_changes(objective=objective)
    expected = after_core(model, recipe)
    assert equal(after_lightning(model, recipe), expected)
    assert not equal(fresh(model).state_dict(), expected)


OPTIMIZERS = [
    {"nesterov": True},
    {"optimizer": "adam", "momentum": 0.0, "epsilon": 1e-2},
    {"optimizer": "adamw", "momentum": 0.0, "weight_decay": 0.1},
]


@pytest.mark.parametrize("change", OPTIMIZERS, ids=str)
def test_every_optimizer_leaves_the_same_weights(change: dict[str, Any]) -> None:
    recipe = RECIPE.with_changes(**change)
    assert equal(after_lightning("shallow", recipe), after_core("shallow", recipe))


def test_two_epochs_follow_two_orders() -> None:
    assert equal(after_lightning("shallow", RECIPE, epochs=2), after_core("shallow", RECIPE, epochs=2))


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 1.0},
        {"momentum": 0.8},
        {"nesterov": True},
        {"seed": 4},
        {"batch_size": 127},
        {"objective": "denoising"},
    ],
    ids=str,
)
def test_a_loop_that_differs_in_one_number_leaves_other_weights(change: dict[str, Any]) -> None:
    assert not equal(after_lightning("shallow", RECIPE.with_changes(**change)), after_core("shallow", RECIPE))


@pytest.mark.parametrize("route", ["resident", "dataloader"])
@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
def test_fit_equals_train_with_its_validation_and_schedule(route: str, schedule: str) -> None:
    recipe = RECIPE.with_changes(schedule=schedule)
    network = fresh("shallow")
    history = train(network, ResidentDataset(load_split("digits")), recipe=recipe, progress=False)

    lit = LitAutoencoder.wrap(fresh("shallow"), recipe)
    fitter, data = trainer(max_epochs=recipe.epochs), datamodule(route)
    fitter.fit(lit, datamodule=data)

    assert equal(lit.model.state_dict(), network.state_dict())
    metrics = fitter.callback_metrics
    assert float(metrics["train_loss"]) == pytest.approx(history.train_loss[-1], rel=rounding(data.training))
    validation = mean_squared_error(network, data.validation)
    assert float(metrics["validation_mse"]) == pytest.approx(validation, rel=rounding(data.validation))
    assert history.validation_mse[-1] == validation


def datamodule(route: str = "resident", **options: Any) -> MNISTDataModule:
    return MNISTDataModule("digits", batch_size=RECIPE.batch_size, route=route, seed=RECIPE.seed, **options)


def rounding(dataset: ResidentDataset) -> float:
    """Relative error of a float32 sum by halves: one rounding for every doubling of the count."""
    return float(np.finfo(np.float32).eps * np.log2(dataset.targets.numel()))


def test_test_error_is_the_reference_s() -> None:
    lit = LitAutoencoder("shallow", seed=5)
    (metrics,) = trainer().test(lit, datamodule=datamodule(), verbose=False)
    dataset = ResidentDataset(load_split("digits", train=False))
    assert metrics["test_mse"] == pytest.approx(mean_squared_error(lit.model, dataset), rel=rounding(dataset))
    other = mean_squared_error(build_autoencoder(ARCHITECTURES["shallow"], seed=6), dataset)
    assert metrics["test_mse"] != pytest.approx(other, rel=rounding(dataset))


def test_predictions_are_the_model_s_outputs_in_order() -> None:
    lit = LitAutoencoder("shallow")
    (batch,) = trainer().predict(lit, datamodule=datamodule())
    dataset = ResidentDataset(load_split("digits", train=False))
    with torch.no_grad():
        assert torch.equal(batch, lit.model(dataset.data))


@pytest.mark.parametrize("route", ["resident", "dataloader"])
def test_a_run_resumed_from_a_checkpoint_ends_where_an_unbroken_one_does(route: str, tmp_path) -> None:
    whole = LitAutoencoder.wrap(fresh("shallow"), RECIPE)
    trainer(max_epochs=3).fit(whole, datamodule=datamodule(route))

    keeper = ModelCheckpoint(tmp_path, save_on_train_epoch_end=True)
    half = LitAutoencoder.wrap(fresh("shallow"), RECIPE)
    options = {"enable_checkpointing": True, "callbacks": [keeper], "plugins": AtomicCheckpointIO()}
    trainer(max_epochs=2, **options).fit(half, datamodule=datamodule(route))
    assert not equal(half.state_dict(), whole.state_dict())

    resumed = LitAutoencoder.wrap(fresh("shallow"), RECIPE)
    trainer(max_epochs=3).fit(resumed, datamodule=datamodule(route), ckpt_path=keeper.best_model_path)
    assert equal(resumed.state_dict(), whole.state_dict())


def test_a_checkpoint_brings_back_weights_and_hyperparameters(tmp_path) -> None:
    network = build_autoencoder(FullyConnected(widths=(784, 32, 8), tied=True), seed=2)
    lit = LitAutoencoder.wrap(network, RECIPE.with_changes(objective="denoising"))
    fitter = trainer(max_epochs=1, plugins=AtomicCheckpointIO())
    fitter.fit(lit, datamodule=datamodule())
    fitter.save_checkpoint(tmp_path / "a.ckpt")
    check_readable(tmp_path / "a.ckpt")

    loaded = LitAutoencoder.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert equal(loaded.state_dict(), lit.state_dict())
    assert not equal(LitAutoencoder(describe(network.architecture)).state_dict(), lit.state_dict())
    assert loaded.model.architecture == network.architecture
    assert loaded.recipe == lit.recipe


def test_hyperparameters_are_the_plain_arguments() -> None:
    assert dict(LitAutoencoder("deep", learning_rate=0.01).hparams) == {
        "architecture": "deep",
        "objective": "standard",
        "optimizer": "adam",
        "learning_rate": 0.01,
        "momentum": 0.0,
        "nesterov": False,
        "epsilon": 1e-8,
        "weight_decay": 0.0,
        "schedule": "constant",
        "corruption": "gaussian",
        "corruption_level": 0.2,
        "contraction": 0.01,
        "seed": 0,
    }


def test_a_checkpoint_that_cannot_be_written_or_read_is_an_error(tmp_path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="cannot be written"):
        AtomicCheckpointIO().save_checkpoint({}, file / "a.ckpt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        check_readable(file)
    AtomicCheckpointIO().save_checkpoint({"weights": 1}, file)
    with pytest.raises(CheckpointError, match="no state_dict"):
        check_readable(file)


def test_one_cycle_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_epochs"):
        trainer(max_epochs=-1).fit(LitAutoencoder(schedule="one-cycle"), datamodule=datamodule())


def test_the_timer_has_a_value_for_every_epoch() -> None:
    timer = EpochTimer()
    trainer(max_epochs=2, callbacks=[timer]).fit(LitAutoencoder(), datamodule=datamodule())
    kept = len(load_split("digits")) - round(0.1 * len(load_split("digits")))
    images = [seconds * rate for seconds, rate in zip(timer.seconds, timer.images_per_second)]
    assert images == pytest.approx([kept, kept])
