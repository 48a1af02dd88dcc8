"""Run by test_lightning_processes.py: two processes of a Trainer, and what they leave.

Usage: lightning_processes.py OUTPUT ROUTE; writes OUTPUT/weighed.pt and, with gradients averaged over processes
whatever they hold, OUTPUT/unweighed.pt.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch

from lightning_impl.callbacks import Pictures
from lightning_impl.checkpoint import AtomicCheckpointIO
from lightning_impl.data import MNISTDataModule
from lightning_impl.model import LitAutoencoder


def fit(*, devices: int, pictures: str | None = None, **data: Any) -> tuple[L.Trainer, LitAutoencoder]:
    """After two epochs."""
    lit = LitAutoencoder("shallow", optimizer="sgd", learning_rate=0.5, momentum=0.9, seed=2)
    fitter = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_epochs=2,
        plugins=AtomicCheckpointIO(),
        callbacks=[Pictures()] if pictures else None,
        default_root_dir=pictures,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    fitter.fit(lit, datamodule=MNISTDataModule(batch_size=215, seed=2, **data))
    return fitter, lit


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    folder, pipeline = Path(sys.argv[1]), sys.argv[2]
    for name in ("weighed", "unweighed"):
        fitter, lit = fit(devices=2, pipeline=pipeline, pictures=str(folder / "pictures"))
        metrics = {name: float(value) for name, value in fitter.callback_metrics.items()}
        if fitter.is_global_zero:
            torch.save({"weights": lit.model.state_dict(), "metrics": metrics}, folder / f"{name}.pt")
        fitter.save_checkpoint(folder / f"{name}.ckpt")
        LitAutoencoder.backward = L.LightningModule.backward  # type: ignore[method-assign]
