"""LitAutoencoder: Lightning's loop around the reference's own module, criterion, noise and optimizer."""

import inspect
import math
from pathlib import Path
from typing import Any, Self

import lightning as L
import torch
from torch import distributed, nn
from torchmetrics import MeanSquaredError

from core_torch.commands.train_options import RECIPE_FIELDS
from core_torch.data.resident import Batch
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.models.checkpoint import load_checkpoint
from core_torch.objectives.contractive import ContractiveLoss
from core_torch.spec.architecture import architecture_from, describe
from core_torch.spec.errors import CheckpointError, ConfigError
from core_torch.spec.presets import preset as named_preset
from core_torch.spec.recipe import LARGEST_SEED, SOLVERS, Recipe
from core_torch.training.layer_by_layer.ridge import NormalEquations
from core_torch.training.loop import build_corruption, build_criterion, build_optimizer, build_scheduler
from lightning_impl.checkpoint import VerifiedLoading
from lightning_impl.layerwise import LayerwiseTraining
from lightning_impl.training import EarlyStoppingCallback

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


class LitAutoencoder(VerifiedLoading, L.LightningModule):
    """An `Autoencoder` with its training, validation, test and prediction steps.

    A batch is (inputs (N, 1, 28, 28), targets (N, 784)), float32 in [0, 1]. Logged by epoch: `train_loss`,
    the criterion averaged over images; `validation_mse` and `test_mse`, the squared error per pixel, of clean
    images. Of several processes each draws noise of its own; their gradient is that of the whole batch.

    Args:
        architecture: a name in `ARCHITECTURES`, or the table that `describe` makes of any architecture. Default:
            shallow, or what `weights` are of.
        preset: a name in `PRESETS`: the shapes and numbers of a named architecture that are not given here.
        weights: a folder that any of the ports wrote, to start from. Without `architecture`, its recipe, too.
        solver: of a randomized model's layers, one of `SOLVERS`, see `LayerwiseTraining`. Default: ridge for the
            architectures named so; for all others, every layer is trained at once.
        objective: like all that follow a field of `Recipe`, which gives units and ranges. `epochs` is for the
            Trainer; `batch_size` and `validation_fraction` are for the datamodule; the commands pass them on.

    Attributes:
        hparams: every argument as it was resolved; none refers to a preset or to a folder.

    Raises:
        ConfigError: a value lies outside its range.
        CheckpointError: `weights` cannot be read, or are of another architecture.
    """

    def __init__(
        self,
        architecture: str | dict[str, Any] | None = None,
        preset: str = "default",
        weights: str | None = None,
        solver: str | None = None,
        objective: str | None = None,
        optimizer: str | None = None,
        learning_rate: float | None = None,
        momentum: float | None = None,
        nesterov: bool | None = None,
        epsilon: float | None = None,
        weight_decay: float | None = None,
        schedule: str | None = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        corruption: str | None = None,
        corruption_level: float | None = None,
        contraction: float | None = None,
        validation_fraction: float | None = None,
        patience: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        changes = {name: value for name, value in self.hparams.items() if name in RECIPE_FIELDS}
        model, recipe = None, Recipe()
        if weights is not None:
            model, held, _ = load_checkpoint(Path(weights))
        if isinstance(architecture, dict):
            chosen = architecture_from(architecture)
        elif model is not None and architecture is None:
            chosen, recipe = model.architecture, held
        else:
            chosen, recipe = named_preset(preset, architecture or "shallow", objective or Recipe.objective)
            preset = "default"  # resolved
        if preset != "default":
            raise ConfigError(f"preset: found {preset}, allowed without the name of an architecture: default")
        if solver is None and isinstance(architecture, str) and architecture.startswith("randomized"):
            solver = SOLVERS[0]
        if solver is not None:
            if patience:
                raise ConfigError(f"patience: found {patience}, allowed layer by layer: 0")
            changes["patience"] = 0
        self.recipe = recipe.with_changes(**changes)
        if model is not None and model.architecture != chosen:
            raise CheckpointError(f"weights: {weights} holds another architecture than {architecture}")
        self._hold(model or build_autoencoder(chosen, seed=self.recipe.seed), solver)
        resolved = {"architecture": describe(chosen), "preset": "default", "weights": None, "solver": solver}
        self.save_hyperparameters(resolved | {name: getattr(self.recipe, name) for name in changes})
        self.validation_mse, self.test_mse = MeanSquaredError(), MeanSquaredError()

    @classmethod
    def wrap(cls, model: Autoencoder, recipe: Recipe, *, solver: str | None = None) -> Self:
        """Around a model that exists already, at the weights it has."""
        wanted = inspect.signature(cls).parameters
        named: dict[str, Any] = {name: value for name, value in recipe.to_dict().items() if name in wanted}
        lit = cls(describe(model.architecture), solver=solver, **named)
        lit._hold(model, solver)
        return lit

    def _hold(self, model: Autoencoder, solver: str | None) -> None:
        self.model = model
        self.layerwise = LayerwiseTraining(model, self.recipe, solver=solver) if solver is not None else None
        self.automatic_optimization = self.layerwise is None
        self.criterion = build_criterion(model, self.recipe)
        self.corrupt = build_corruption(self.recipe, torch.device("cpu"))
        self.loss_sum, self.images = torch.zeros(()), 0  # of the epoch so far
        self.generator: torch.Generator | None = None
        self.resumed: list[dict[str, Any]] = []  # by process

    @property
    def epochs(self) -> int:
        """What the Trainer's `max_epochs` should be."""
        return len(self.layerwise.stages) if self.layerwise else self.recipe.epochs

    @property
    def order_period(self) -> int | None:
        """Epochs after which the order of images repeats: each layer that is descended has the same."""
        return self.recipe.epochs if self.layerwise and self.layerwise.solver == "gradient-descent" else None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Where training stands in every process: its generator, and its sums so far in the epoch."""
        if self.generator is None:
            return
        sums = self.layerwise.sums if self.layerwise else None
        mine = {
            "generator": self.generator.get_state(),
            "loss_sum": self.loss_sum,
            "images": self.images,
            "sums": sums and (sums.gram, sums.moment, sums.count),
        }
        checkpoint["processes"] = [mine]
        if self.trainer.world_size > 1:
            checkpoint["processes"] = [None] * self.trainer.world_size
            distributed.all_gather_object(checkpoint["processes"], mine)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """`CheckpointError` for the weights of another model, before one is copied."""
        found = {name: tuple(array.shape) for name, array in checkpoint["state_dict"].items()}
        expected = {name: tuple(array.shape) for name, array in self.state_dict().items()}
        if found != expected:
            wrong = sorted(name for name, _ in found.items() ^ expected.items())
            raise CheckpointError(f"checkpoint: {wrong[0]} is missing, unexpected or of another shape")
        self.resumed = checkpoint.get("processes", [])

    def setup(self, stage: str) -> None:
        """`ConfigError` for what the Trainer offers and this module does not."""
        check_trainer(self.trainer, "allowed", precision=PRECISIONS, overfit_batches=(0,))

    def on_fit_start(self) -> None:
        """The model is on its device now: so must be the generator of its noise and probes."""
        if self.layerwise:
            whole = {"max_epochs": (self.epochs,), "max_steps": (-1,)}
            allowed = {**whole, "world_size": (1,), "precision": ("32-true", "bf16-mixed")}
            check_trainer(self.trainer, "allowed layer by layer", **allowed)
        seed = (self.recipe.seed + self.global_rank) % (LARGEST_SEED + 1)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        for resumed in self.resumed[self.global_rank : self.global_rank + 1]:
            self.generator.set_state(resumed["generator"].cpu())
            self.loss_sum, self.images = resumed["loss_sum"].to(self.device), resumed["images"]
            if self.layerwise and resumed["sums"]:
                gram, moment, count = resumed["sums"]
                self.layerwise.sums = NormalEquations(gram.to(self.device), moment.to(self.device), count)
        self.resumed = []
        self.corrupt = build_corruption(self.recipe, self.device, generator=self.generator)
        if isinstance(self.criterion, ContractiveLoss):
            self.criterion.generator = self.generator

    def configure_callbacks(self) -> list[L.Callback]:
        """Early stopping where the recipe has patience."""
        return [EarlyStoppingCallback(self.recipe.patience)] if self.recipe.patience else []

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer; under one-cycle with a scheduler that advances every step."""
        if self.layerwise:
            self.trainer.fit_loop.setup_data()
            return self.layerwise.build_optimizers(steps=int(self.trainer.num_training_batches))
        optimizer = build_optimizer(self.model, self.recipe)
        if self.recipe.schedule == "constant":
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise ConfigError(f"schedule: {self.recipe.schedule} needs a finite trainer.max_epochs")
        scheduler = build_scheduler(optimizer, self.recipe, steps=int(steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """`ConfigError` where a resumed cycle was planned for another number of steps."""
        for planned in self.trainer.lr_scheduler_configs:
            allowed, found = planned.scheduler.total_steps, self.trainer.estimated_stepping_batches  # type: ignore[union-attr]
            if self.automatic_optimization and found != allowed:
                raise ConfigError(f"trainer.max_epochs: makes {found} steps, allowed to go on with: {allowed}")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, ...) -> reconstructions (N, 784)."""
        images: torch.Tensor = self.model(x)
        return images

    def on_train_epoch_start(self) -> None:
        """Nothing seen yet; a layer starts its noise anew."""
        self.loss_sum, self.images = torch.zeros((), device=self.device), 0
        if self.layerwise and self.generator and self.layerwise.begins(self.current_epoch):
            self.generator.manual_seed(self.recipe.seed)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor | None:
        """The criterion of one batch, corrupted where the objective says so; None where a layer is solved for."""
        inputs, targets = batch
        if self.layerwise:
            loss = self.layerwise.step(self, self.model, batch, self.corrupt or nn.Identity())
        else:
            loss = self.criterion(self(self.corrupt(inputs) if self.corrupt else inputs), targets)
        if loss is not None:
            self.loss_sum, self.images = self.loss_sum + loss.detach() * len(inputs), self.images + len(inputs)
        self.batch_images = len(inputs)
        return loss

    def backward(self, loss: torch.Tensor, *arguments: Any, **options: Any) -> None:
        """Processes average their gradients: weighed by their images, that is the gradient of the whole batch."""
        if self.trainer.world_size > 1:
            count = torch.tensor(float(self.batch_images), device=self.device)
            loss = loss * self.batch_images / self.trainer.strategy.reduce(count, reduce_op="mean")
        super().backward(loss, *arguments, **options)

    def on_train_epoch_end(self) -> None:
        """Log the criterion, averaged over the epoch's images."""
        if self.images and not self.trainer.barebones:
            totals = torch.stack([self.loss_sum, torch.full_like(self.loss_sum, self.images)])
            loss_sum, images = self.trainer.strategy.reduce(totals, reduce_op="sum")
            self.log("train_loss", loss_sum / images, prog_bar=True, sync_dist=True)

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
        images: torch.Tensor = self(batch[0])
        return images


def check_trainer(trainer: L.Trainer, how: str, **allowed: tuple[object, ...]) -> None:
    """`ConfigError` where an attribute of the Trainer is none of the values given here; `how` introduces them."""
    for name, values in allowed.items():
        if (found := getattr(trainer, name)) not in values:
            raise ConfigError(f"trainer.{name}: found {found}, {how}: {', '.join(map(str, values))}")
