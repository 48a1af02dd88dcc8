"""What a Trainer needs to train as the recipe says: early stopping, an end at the first value that is not finite."""

from copy import deepcopy
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from core_torch.spec.early_stopping import EarlyStopping
from core_torch.training.monitor import TrainingMonitor


class EarlyStoppingCallback(Callback):
    """Stop by the rule of every port, and put the best weights back when training ends.

    Lightning's own callback keeps no weights, and takes its patience and its ties by other rules. The state is in the
    Trainer's checkpoints, so that a resumed run stops where an unbroken one does.

    Args:
        patience: epochs in a row without a lower `validation_mse` after which training ends; at least 1.
    """

    def __init__(self, patience: int) -> None:
        self.patience, self.errors = patience, list[float]()
        self.stopping = EarlyStopping(patience)
        self.best_weights: dict[str, torch.Tensor] | None = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Record the error of the epoch; it is the same in every process."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self.errors.append(float(trainer.callback_metrics["validation_mse"]))
        if self.stopping.update(self.errors[-1]):
            self.best_weights = deepcopy(pl_module.model.state_dict())
        trainer.should_stop = trainer.should_stop or self.stopping.should_stop

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Put the best weights back."""
        if self.best_weights is not None:
            pl_module.model.load_state_dict(self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        """The errors so far and the weights to return to."""
        return {"errors": self.errors, "best_weights": self.best_weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.errors, self.best_weights = list(state_dict["errors"]), state_dict["best_weights"]
        self.stopping = EarlyStopping(self.patience, self.errors)


class TerminateOnNonFinite(Callback):
    """End training at the step where a loss, a gradient or a weight is not finite; see `TrainingMonitor`.

    Raises:
        DivergenceError: from the Trainer's `fit`; no checkpoint is written after that step.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """The model is on its device."""
        self.monitor = TrainingMonitor(pl_module.model)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """No loss yet."""
        self.monitor.epoch = trainer.current_epoch
        self.monitor.restart()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """What the loss will be of, and at which step: of a resumed epoch those before count."""
        self.inputs, self.monitor.steps = batch[0], batch_idx

    def on_before_backward(self, trainer: L.Trainer, pl_module: Any, loss: torch.Tensor) -> None:
        """Judge the loss before it can spoil a weight."""
        self.monitor.loss(loss, self.inputs)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Judge the weights before they can spoil a checkpoint, which the Trainer's last callbacks write."""
        self.monitor.step()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Where no step was waited for, judge them all."""
        if not self.monitor.on_host:
            self.monitor.check()
