"""GraphedAutoencoder: a step recorded once as a CUDA graph, replayed many times for each one that Lightning takes."""

from collections.abc import Iterator
from typing import Any

import torch

from core_torch.spec.errors import ConfigError
from core_torch.training.graphed import GraphedSteps, fused_optimizer
from core_torch.training.loop import build_optimizer
from lightning_impl.data import ResidentBatches
from lightning_impl.model import LitAutoencoder, check_trainer


class IndexChunks(ResidentBatches):
    """Batches of the indices of images, (batch_size,) int64, not of images: a multiple of the recipe's batch size."""

    def batches_from(self, first: int) -> Iterator[Any]:
        """From number `first` on."""
        return ((index,) for index in self.indices_from(first))


class GraphedAutoencoder(LitAutoencoder):
    """Trains on `IndexChunks` as `LitAutoencoder` does on images; see `GraphedSteps`. On a CPU nothing is recorded."""

    def _hold(self, *arguments: Any) -> None:
        super()._hold(*arguments)
        self.automatic_optimization = False

    def on_fit_start(self) -> None:
        """`ConfigError` for what is not recorded."""
        check_trainer(self.trainer, "allowed with graphs", world_size=(1,), precision=("32-true",))
        if self.layerwise or self.recipe.schedule != "constant":
            raise ConfigError("schedule, solver: found one, allowed with graphs: the constant rate, no solver")
        super().on_fit_start()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The recipe's, its update one kernel."""
        return fused_optimizer(build_optimizer(self.model, self.recipe))

    def on_train_start(self) -> None:
        """Ready to record: the optimizer is the one that a checkpoint was loaded into."""
        loader: Any = self.trainer.train_dataloader
        if not isinstance(loader, IndexChunks):
            raise ConfigError(f"train_dataloaders: found {type(loader).__name__}, allowed with graphs: IndexChunks")
        if loader.batch_size % self.recipe.batch_size:
            allowed = f"a multiple of the recipe's {self.recipe.batch_size}"
            raise ConfigError(f"batch_size: found chunks of {loader.batch_size}, allowed with graphs: {allowed}")
        (optimizer,) = self.trainer.optimizers
        for group in optimizer.param_groups:
            group["lr"] = group["lr"].to(self.device)
        about: dict[str, Any] = {"corrupt": self.corrupt, "generators": (self.generator,), "optimizer": optimizer}
        self.steps = GraphedSteps(self.model, loader.dataset, criterion=self.criterion, **about)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """As many steps as the recipe's batches are in this one."""
        counted = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for indices in batch[0].split(self.recipe.batch_size):
            self.steps.step(indices)
            counted.increment_ready()
            counted.increment_completed()
        self.loss_sum, self.images = self.loss_sum + self.steps.total, self.images + len(batch[0])
        self.steps.total.zero_()
