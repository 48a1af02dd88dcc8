"""A run that was cut and resumed ends as an unbroken one: weights, optimizer and logged values, bit for bit."""

import gc
from functools import cache, partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from core_torch.spec.errors import CheckpointError, ConfigError
from lightning_impl.checkpoint import AtomicCheckpointIO
from lightning_impl.data import MNISTDataModule, ResidentBatches
from lightning_impl.model import LitAutoencoder

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
EPOCHS, STEPS = 3, 5  # batches an epoch
MODELS: dict[str, dict[str, Any]] = {
    "standard": {"architecture": "shallow", "learning_rate": 0.01, "schedule": "one-cycle"},
    "denoising": {"architecture": "shallow", "objective": "denoising"},
    # So wide a code has its Jacobian estimated, by random probes.
    "contractive": {"architecture": {"kind": "FullyConnected", "widths": (784, 80, 70)}, "objective": "contractive"},
}
PIPELINES: dict[str, dict[str, Any]] = {
    "resident": {},
    "loader": {"pipeline": "dataloader"},
    "workers": {"pipeline": "dataloader", "num_workers": 2},
}
CUTS: dict[str, dict[str, Any]] = {
    "mid-epoch": {"every_n_train_steps": STEPS + 2},
    "epoch end": {"every_n_epochs": 2, "save_on_train_epoch_end": True},
    "validation end": {"every_n_epochs": 2, "monitor": "validation_mse"},
}


def fit(
    model: str,
    pipeline: str,
    *,
    folder: Path | None = None,
    cut: str = "",
    ckpt_path: Path | None = None,
    size: int = 300,
) -> dict[str, Any]:
    """Weights, optimizer state and logged values at the end of a run, or where it was cut."""
    lit = LitAutoencoder(**MODELS[model], seed=1)
    saver = ModelCheckpoint(folder, filename="cut", **CUTS[cut]) if cut else None
    fitter = L.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        callbacks=[saver, Stop(saver)] if saver else None,
        enable_checkpointing=saver is not None,
        plugins=AtomicCheckpointIO(),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = MNISTDataModule(batch_size=size, seed=1, validation_fraction=0.05, **PIPELINES[pipeline])
    fitter.fit(lit, datamodule=data, ckpt_path=ckpt_path)
    return {
        "steps": fitter.global_step,
        "weights": lit.state_dict(),
        "optimizer": fitter.optimizers[0].state_dict()["state"],
        "logged": {name: float(value) for name, value in fitter.callback_metrics.items()},
    }


whole = cache(fit)


class Stop(L.Callback):
    """Ends the run once the checkpoint is there."""

    def __init__(self, saver: ModelCheckpoint) -> None:
        self.saver = saver

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if self.saver.best_model_path:
            raise KeyboardInterrupt


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def interrupted(folder: Path, model: str, pipeline: str, cut: str) -> Path:
    with pytest.raises(SystemExit):
        fit(model, pipeline, folder=folder, cut=cut)
    return folder / "cut.ckpt"


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("model", MODELS)
def test_a_resumed_run_ends_as_an_unbroken_one(model: str, pipeline: str, cut: str, tmp_path: Path) -> None:
    assert whole(model, pipeline)["steps"] == EPOCHS * STEPS
    assert same(fit(model, pipeline, ckpt_path=interrupted(tmp_path, model, pipeline, cut)), whole(model, pipeline))


def workers_left(cut: str, folder: Path) -> list[Any]:
    before = active_children()
    interrupted(folder, "standard", "workers", cut) if cut else fit("standard", "workers")
    return [child for child in active_children() if child not in before]


@pytest.mark.parametrize("cut", ["", "mid-epoch", "epoch end"])
def test_the_workers_end_with_the_run_that_started_them(cut: str, tmp_path: Path) -> None:
    assert workers_left(cut, tmp_path) == []


def test_persistent_workers_would_outlive_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_impl.data.DataLoader", partial(DataLoader, persistent_workers=True))
    left = workers_left("mid-epoch", tmp_path)
    assert len(left) >= 2
    # PyTorch must end them itself: killed by others, they make it raise in whatever test comes next.
    for iterator in [each for each in gc.get_objects() if type(each) is _MultiProcessingDataLoaderIter]:
        iterator._shutdown_workers()
    assert not any(child.is_alive() for child in left)


FORGOTTEN = [  # (owner, method that restores, model that needs it)
    (LitAutoencoder, "on_load_checkpoint", "denoising"),
    (LitAutoencoder, "on_load_checkpoint", "contractive"),
    (ResidentBatches, "load_state_dict", "standard"),
]


@pytest.mark.parametrize(("owner", "method", "model"), FORGOTTEN, ids=lambda value: getattr(value, "__name__", value))
def test_without_what_is_restored_it_ends_elsewhere(owner, method: str, model: str, monkeypatch, tmp_path) -> None:
    path = interrupted(tmp_path, model, "resident", "mid-epoch")
    monkeypatch.setattr(owner, method, lambda self, state: None)
    assert not same(fit(model, "resident", ckpt_path=path)["weights"], whole(model, "resident")["weights"])


def test_batches_of_another_order_are_refused(tmp_path: Path) -> None:
    path = interrupted(tmp_path, "denoising", "resident", "mid-epoch")
    with pytest.raises(CheckpointError, match="batch_size 300, found 200"):
        fit("denoising", "resident", ckpt_path=path, size=200)


def test_a_cycle_of_another_length_is_refused(monkeypatch, tmp_path: Path) -> None:
    path = interrupted(tmp_path, "standard", "resident", "epoch end")
    monkeypatch.setattr(f"{__name__}.EPOCHS", EPOCHS + 1)
    with pytest.raises(ConfigError, match="max_epochs"):
        fit("standard", "resident", ckpt_path=path)
