"""Callbacks of the commands: the time of epochs, pictures of what the model makes of images, an end by SIGTERM."""

import io
import math
import signal
import threading
import time
from copy import copy
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import Callback

from core_torch.data.resident import ResidentDataset
from core_torch.files.atomic import write_atomically
from core_torch.files.outputs import prepare_output
from core_torch.models.evaluating import evaluating
from core_torch.objectives.reconstruction import EVALUATION_BATCH

CURVES = ("train_loss", "validation_mse")  # that a run's history has


class EpochTimer(Callback):
    """Times the training part of every whole epoch, first batch to last, validation excluded.

    Attributes:
        seconds: of wall time, one value per epoch.
        images_per_second: one value per epoch.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.images_per_second: list[float] = []
        self._images, self._started = 0, math.nan  # a resumed epoch has no start

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._images, self._started = 0, _now(pl_module.device)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count; after the last batch, before validation, stop the clock."""
        self._images += len(batch[0]) * trainer.world_size
        if trainer.is_last_batch and not math.isnan(self._started):
            self.seconds.append(_now(pl_module.device) - self._started)
            self.images_per_second.append(self._images / self.seconds[-1])


def _on(device: torch.device, dataset: ResidentDataset) -> ResidentDataset:
    """The dataset, or a copy of it there."""
    if dataset.device == device:
        return dataset
    part = copy(dataset)
    part.data, part.targets, part.labels = (held.to(device) for held in (part.data, part.targets, part.labels))
    return part


def _now(device: torch.device) -> float:
    """Seconds, once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class EpochCurves(Callback):
    """Collect the values that this process logs of each epoch.

    Attributes:
        history: {"train_loss" and "validation_mse", where they are logged: a value for each epoch}.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the values of the epoch before, which are complete now."""
        self._append(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take those of the last epoch."""
        self._append(trainer)

    def _append(self, trainer: L.Trainer) -> None:
        for name in CURVES:
            if name in trainer.callback_metrics:
                self.history.setdefault(name, []).append(float(trainer.callback_metrics[name]))


class Pictures(Callback):
    """Reconstructions and a map of the codes (two principal components), after every validation and test.

    They go to the loggers that take figures, as TensorBoard's does; where there is none, to PNG files. Needs
    matplotlib, and a Trainer that was given an `MNISTDataModule`.

    Args:
        folder: of the files; default: the Trainer's `log_dir`, or its `default_root_dir`.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Of the held-out images."""
        if not trainer.sanity_checking:
            self._show(trainer, pl_module, "validation", trainer.datamodule.validation)  # type: ignore[attr-defined]

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Of the test split."""
        self._show(trainer, pl_module, "test", trainer.datamodule.testing)  # type: ignore[attr-defined]

    def _show(self, trainer: L.Trainer, lit: Any, part: str, dataset: ResidentDataset) -> None:
        from core_torch.evaluation.charts import plot_latent_map
        from core_torch.evaluation.figures import plot_reconstructions

        place = self.folder or trainer.log_dir or trainer.default_root_dir  # `log_dir` asks every process
        if not trainer.is_global_zero:
            return
        dataset = _on(lit.device, dataset)
        with evaluating(lit.model):
            batches = dataset.batches(EVALUATION_BATCH, shuffle=False)
            codes = torch.cat([lit.model.encode(images) for images, _ in batches]).float().cpu().numpy()
        figures = {
            "reconstructions": plot_reconstructions(lit.model, dataset),
            "codes": plot_latent_map(codes, dataset.labels.cpu().numpy(), title=f"Codes of {part} images"),
        }
        experiments = [getattr(logger, "experiment", None) for logger in trainer.loggers]
        boards: list[Any] = [experiment for experiment in experiments if hasattr(experiment, "add_figure")]
        for name, figure in figures.items():
            for board in boards:
                board.add_figure(f"{part}/{name}", figure, trainer.global_step)
            if not boards:
                folder = prepare_output(place)
                picture = io.BytesIO()
                figure.savefig(picture, format="png")
                write_atomically(folder / f"{part}-{name}-{trainer.global_step}.png", picture.getvalue())


class DisableSigtermBroadcast(Callback):
    """Let SIGTERM end each process by the handler that was there before the Trainer's.

    The Trainer's handler broadcasts the signal. Every process has to join that broadcast: where one of them waits in
    another collective, such as the barrier after a checkpoint, both wait for ever.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remember the handler. The Trainer sets its own after this hook and puts this one back at the end."""
        self.handler = signal.getsignal(signal.SIGTERM)
        if SLURMEnvironment.detect() and not callable(self.handler):
            self.handler = signal.SIG_IGN  # as the Trainer does: SLURM's other signal has the job queued again

    def use_handler(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set it again, in each first hook after the Trainer has set its own."""
        if threading.current_thread() is threading.main_thread():  # which alone may set handlers
            signal.signal(signal.SIGTERM, self.handler)

    on_sanity_check_start = on_train_start = use_handler
    on_validation_start = on_test_start = on_predict_start = use_handler
