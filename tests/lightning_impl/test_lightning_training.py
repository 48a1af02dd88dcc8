"""Lightning's loop against the readable loop: the same weights, bit for bit, on the CPU."""

from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import load_split
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.models.checkpoint import save_checkpoint
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.spec.architecture import ARCHITECTURES, FullyConnected, describe
from core_torch.spec.errors import CheckpointError, ConfigError
from core_torch.spec.presets import PRESETS, preset
from core_torch.spec.recipe import OBJECTIVES, Recipe
from core_torch.training.loop import build_corruption, build_criterion, build_optimizer, train, train_epoch
from lightning_impl.callbacks import EpochTimer, Pictures
from lightning_impl.checkpoint import AtomicCheckpointIO, read_checkpoint
from lightning_impl.data import EpochOrder, MNISTDataModule, ResidentBatches
from lightning_impl.model import LitAutoencoder

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


@pytest.mark.parametrize("pipeline", ["resident", "dataloader"])
@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
def test_fit_equals_train_with_its_validation_and_schedule(pipeline: str, schedule: str) -> None:
    recipe = RECIPE.with_changes(schedule=schedule)
    network = fresh("shallow")
    history = train(network, ResidentDataset(load_split("digits")), recipe=recipe, progress=False)

    lit = LitAutoencoder.wrap(fresh("shallow"), recipe)
    fitter, data = trainer(max_epochs=recipe.epochs), datamodule(pipeline)
    fitter.fit(lit, datamodule=data)

    assert equal(lit.model.state_dict(), network.state_dict())
    metrics = fitter.callback_metrics
    assert float(metrics["train_loss"]) == pytest.approx(history.train_loss[-1], rel=rounding(data.training))
    validation = mean_squared_error(network, data.validation)
    assert float(metrics["validation_mse"]) == pytest.approx(validation, rel=rounding(data.validation))
    assert history.validation_mse[-1] == validation


def datamodule(pipeline: str = "resident", **options: Any) -> MNISTDataModule:
    return MNISTDataModule("digits", batch_size=RECIPE.batch_size, pipeline=pipeline, seed=RECIPE.seed, **options)


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


def test_a_checkpoint_brings_back_weights_and_hyperparameters(tmp_path) -> None:
    network = build_autoencoder(FullyConnected(widths=(784, 32, 8), tied=True), seed=2)
    lit = LitAutoencoder.wrap(network, RECIPE.with_changes(objective="denoising"))
    fitter = trainer(max_epochs=1, plugins=AtomicCheckpointIO())
    fitter.fit(lit, datamodule=datamodule())
    fitter.save_checkpoint(tmp_path / "a.ckpt")
    read_checkpoint(tmp_path / "a.ckpt")

    loaded = LitAutoencoder.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert equal(loaded.state_dict(), lit.state_dict())
    assert not equal(LitAutoencoder(describe(network.architecture)).state_dict(), lit.state_dict())
    assert loaded.model.architecture == network.architecture
    assert loaded.recipe == lit.recipe


def test_hyperparameters_are_the_resolved_arguments() -> None:
    architecture, recipe = preset("best", "deep", "standard")
    hparams = dict(LitAutoencoder("deep", "best", learning_rate=0.01).hparams)
    about = {"architecture": describe(architecture), "preset": "default", "weights": None, "solver": None}
    numbers = recipe.with_changes(learning_rate=0.01).to_dict()
    assert hparams == about | numbers
    again = LitAutoencoder(**hparams)
    assert again.model.architecture == architecture
    assert dict(again.hparams) == hparams


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("name", "model"), sorted({(name, model) for name in PRESETS for model, _ in PRESETS[name]}))
def test_every_preset_is_resolved_as_the_contract_does(name: str, model: str, objective: str) -> None:
    lit = LitAutoencoder(model, name, objective=objective)
    assert (lit.model.architecture, lit.recipe) == preset(name, model, objective)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("model", ARCHITECTURES)
def test_all_eighteen_are_trained_and_tested(model: str, objective: str) -> None:
    lit = LitAutoencoder(model, objective=objective, epochs=1)
    before = {name: weight.clone() for name, weight in lit.model.state_dict().items()}
    limited = {"max_epochs": lit.epochs, "limit_train_batches": 2, "limit_val_batches": 1}
    trainer(**limited).fit(lit, datamodule=datamodule())
    assert not any(torch.equal(weight, before[name]) for name, weight in lit.model.state_dict().items())
    (metrics,) = trainer().test(lit, datamodule=datamodule(), verbose=False)
    assert 0 < metrics["test_mse"] < 1


def test_a_folder_of_weights_brings_architecture_and_recipe(tmp_path) -> None:
    network = build_autoencoder(FullyConnected(widths=(784, 32, 8)), seed=2)
    recipe = RECIPE.with_changes(objective="denoising", patience=2)
    save_checkpoint(tmp_path, network, recipe=recipe, name="custom", dataset="digits")
    lit = LitAutoencoder(weights=str(tmp_path), learning_rate=0.25)
    assert equal(lit.model.state_dict(), network.state_dict())
    assert lit.recipe == recipe.with_changes(learning_rate=0.25)
    assert lit.hparams["weights"] is None
    again = LitAutoencoder(describe(network.architecture), weights=str(tmp_path))
    assert equal(again.model.state_dict(), network.state_dict())
    assert again.recipe == Recipe()  # an architecture was given, so the folder's recipe does not hold
    for named in (None, describe(network.architecture)):
        with pytest.raises(ConfigError, match="preset: found best"):
            LitAutoencoder(named, "best", weights=str(tmp_path))
    with pytest.raises(CheckpointError, match="another architecture than deep"):
        LitAutoencoder("deep", weights=str(tmp_path))
    with pytest.raises(CheckpointError, match="manifest"):
        LitAutoencoder(weights=str(tmp_path / "absent"))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_mixed_precision_learns_nearly_the_same_in_float32_weights(objective: str) -> None:
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        lit = LitAutoencoder("shallow", objective=objective)
        fitter = trainer(max_epochs=2, precision=precision)
        fitter.fit(lit, datamodule=datamodule())
        losses.append(float(fitter.callback_metrics["train_loss"]))
        assert {weight.dtype for weight in lit.model.parameters()} == {torch.float32}
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert losses[1] != losses[0]


def test_one_cycle_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_epochs"):
        trainer(max_epochs=-1).fit(LitAutoencoder(schedule="one-cycle"), datamodule=datamodule())


def test_the_timer_has_a_value_for_every_epoch() -> None:
    timer = EpochTimer()
    trainer(max_epochs=2, callbacks=[timer]).fit(LitAutoencoder(), datamodule=datamodule())
    kept = len(load_split("digits")) - round(0.1 * len(load_split("digits")))
    images = [seconds * rate for seconds, rate in zip(timer.seconds, timer.images_per_second)]
    assert images == pytest.approx([kept, kept])


@pytest.mark.parametrize("pipeline", ["resident", "dataloader"])
def test_pictures_of_images_and_codes_are_files_where_no_logger_takes_them(pipeline: str, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    pictures = Pictures(str(tmp_path / "new"))
    fitter = trainer(max_epochs=1, callbacks=[pictures], num_sanity_val_steps=2)
    lit, data = LitAutoencoder(), datamodule(pipeline)
    fitter.fit(lit, datamodule=data)
    fitter.test(lit, datamodule=data, verbose=False)
    files = sorted((tmp_path / "new").iterdir())
    names = ["test-codes", "test-reconstructions", "validation-codes", "validation-reconstructions"]
    assert [path.name for path in files] == [f"{name}-{fitter.global_step}.png" for name in names]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)


def test_pictures_go_to_a_logger_that_takes_them(tmp_path, monkeypatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    logger = Board()
    trainer(callbacks=[Pictures()], logger=logger).validate(LitAutoencoder(), datamodule=datamodule(), verbose=False)
    assert logger.experiment.tags == ["validation/reconstructions", "validation/codes"]
    assert not list(tmp_path.rglob("*.png"))


class Board(DummyLogger):
    """A logger like TensorBoard's, which is not installed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    @property
    def experiment(self) -> "Board":
        return self

    def add_figure(self, tag: str, figure: object, step: int) -> None:
        self.tags.append(tag)
