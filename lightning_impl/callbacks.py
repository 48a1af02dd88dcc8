"""EpochTimer: how fast a Trainer's epochs were."""

import time
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback


class EpochTimer(Callback):
    """Times the training part of every epoch, first batch to last, validation excluded.

    Attributes:
        seconds: of wall time, one value per epoch.
        images_per_second: one value per epoch.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.images_per_second: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._images, self._started = 0, _now(pl_module.device)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count; after the last batch, before validation, stop the clock."""
        self._images += len(batch[0])
        if trainer.is_last_batch:
            self.seconds.append(_now(pl_module.device) - self._started)
            self.images_per_second.append(self._images / self.seconds[-1])


def _now(device: torch.device) -> float:
    """Seconds, once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
