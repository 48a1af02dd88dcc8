"""LitAutoencoder: Lightning's loop around the reference's own module, criterion, noise and optimizer."""

import inspect
import math
from typing import Any, Self

import lightning as L
import torch
from torchmetrics import MeanSquaredError

from core_torch.contract.architecture import architecture_from, architecture_named, describe
from core_torch.contract.errors import CheckpointError, ConfigError
from core_torch.contract.recipe import Recipe
from core_torch.data.resident import Batch
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.training.loop import build_corruption, build_criterion, build_optimizer, build_scheduler


class LitAutoencoder(L.LightningModule):
    """An `Autoencoder` with its training, validation, test and prediction steps.

    A batch is (inputs (N, 1, 28, 28), targets (N, 784)), float32 in [0, 1]. Logged by epoch: `train_loss`,
    the criterion averaged over images; `validation_mse` and `test_mse`, the squared error per pixel, of clean
    images. A `fit` resumed from a checkpoint starts noise and random probes at the seed again.

    Args:
        architecture: a name in `ARCHITECTURES`, or the table that `describe` makes of any architecture.
        objective: like all that follow a field of `Recipe`, which gives units and ranges. Its others belong
            to the Trainer (`epochs`, `patience`) or to the datamodule (`batch_size`, `validation_fraction`).

    Raises:
        ConfigError: a value lies outside its range.
    """

    def __init__(
        self,
        architecture: str | dict[str, Any] = "shallow",
        objective: str = Recipe.objective,
        optimizer: str = Recipe.optimizer,
        learning_rate: float = Recipe.learning_rate,
        momentum: float = Recipe.momentum,
        nesterov: bool = Recipe.nesterov,
        epsilon: float = Recipe.epsilon,
        weight_decay: float = Recipe.weight_decay,
        schedule: str = Recipe.schedule,
        corruption: str = Recipe.corruption,
        corruption_level: float = Recipe.corruption_level,
        contraction: float = Recipe.contraction,
        seed: int = Recipe.seed,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.recipe = Recipe(
            objective=objective,
            optimizer=optimizer,
            learning_rate=learning_rate,
            momentum=momentum,
            nesterov=nesterov,
            epsilon=epsilon,
            weight_decay=weight_decay,
            schedule=schedule,
            corruption=corruption,
            corruption_level=corruption_level,
            contraction=contraction,
            seed=seed,
        )
        if isinstance(architecture, str):
            if architecture.startswith("randomized"):
                raise ConfigError(f"architecture: found {architecture}, allowed: models not trained layer by layer")
            chosen = architecture_named(architecture)
        else:
            chosen = architecture_from(architecture)
        self._hold(build_autoencoder(chosen, seed=seed))
        self.validation_mse, self.test_mse = MeanSquaredError(), MeanSquaredError()

    @classmethod
    def wrap(cls, model: Autoencoder, recipe: Recipe) -> Self:
        """Around a model that exists already, at the weights it has."""
        wanted = inspect.signature(cls).parameters
        fields: dict[str, Any] = {name: value for name, value in recipe.to_dict().items() if name in wanted}
        lit = cls(describe(model.architecture), **fields)
        lit._hold(model)
        return lit

    def _hold(self, model: Autoencoder) -> None:
        self.model = model
        self.criterion = build_criterion(model, self.recipe)
        self.corrupt = build_corruption(self.recipe, torch.device("cpu"))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """`CheckpointError` for the weights of another model, before one is copied."""
        found = {name: tuple(array.shape) for name, array in checkpoint["state_dict"].items()}
        expected = {name: tuple(array.shape) for name, array in self.state_dict().items()}
        if found != expected:
            wrong = sorted(name for name, _ in found.items() ^ expected.items())
            raise CheckpointError(f"checkpoint: {wrong[0]} is missing, unexpected or of another shape")

    def on_fit_start(self) -> None:
        """The model is on its device now: so must be the generator of its noise."""
        self.corrupt = build_corruption(self.recipe, self.device)

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer; under one-cycle with a scheduler that advances every step."""
        optimizer = build_optimizer(self.model, self.recipe)
        if self.recipe.schedule == "constant":
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise ConfigError(f"schedule: {self.recipe.schedule} needs a finite trainer.max_epochs")
        scheduler = build_scheduler(optimizer, self.recipe, steps=int(steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, ...) -> reconstructions (N, 784)."""
        return self.model(x)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The criterion of one batch, corrupted where the objective says so."""
        inputs, targets = batch
        return self.criterion(self(self.corrupt(inputs) if self.corrupt else inputs), targets)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Logs here rather than in `training_step`, which thereby runs without a Trainer too."""
        if not self.trainer.barebones:
            loss, count = outputs["loss"], len(batch[0])
            self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=count)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds to the validation error."""
        self._measure("validation_mse", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds to the test error."""
        self._measure("test_mse", batch)

    def _measure(self, name: str, batch: Batch) -> None:
        inputs, targets = batch
        metric = getattr(self, name)
        metric.update(self(inputs), targets)
        self.log(name, metric, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(inputs))

    def predict_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Reconstructions (N, 784)."""
        return self(batch[0])
