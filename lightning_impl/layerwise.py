"""LayerwiseTraining: `train_randomized` as epochs of a Trainer, for the randomized models."""

from typing import Any

import lightning as L
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from core_torch.data.resident import Batch
from core_torch.models.autoencoder import Autoencoder
from core_torch.spec.errors import check_choice
from core_torch.spec.recipe import SOLVERS, Recipe
from core_torch.training.layer_by_layer.randomized import (
    check_randomized,
    decoder_weight,
    draw_pairs,
    fill,
    pair_criterion,
    place_layer,
    refit_maps,
)
from core_torch.training.layer_by_layer.ridge import PASSES, RIDGE, NormalEquations, normal_equations
from core_torch.training.loop import Corrupt, build_optimizer, build_scheduler

REFIT = "refit"  # of the decoder to the encoder it got


class LayerwiseTraining(nn.Module):
    """Finds the weights of a randomized model one layer at a time, then refits its decoder.

    In closed form, an epoch adds up a layer's sums and solves for it after the last batch; by gradient descent, a
    layer has the recipe's epochs. Encoders are those of `train_randomized` on the same images, bit for bit by
    gradient descent, and in closed form where the batches are `FEATURE_BATCH` images in stored order; otherwise,
    like the refitted decoder, to the rounding of sums and, when denoising, to the draw of the noise.

    Args:
        model: of the family of `RandomizedAutoencoder`; it is not held.
        solver: one of `SOLVERS`.

    Attributes:
        stages: (solver or `REFIT`, layer) of each epoch, layers counted in the order they are found; the
            Trainer's `max_epochs` is to be their number.
        sums: of the batches since the last solution.

    Raises:
        ConfigError: the solver is unknown, or the model has biases, is not dense, or has an output activation.
    """

    def __init__(self, model: Autoencoder, recipe: Recipe, *, solver: str) -> None:
        super().__init__()
        check_choice("solver", solver, SOLVERS)
        depth = len(check_randomized(model, is_linear=True, ridge=RIDGE, passes=PASSES))
        self.recipe, self.solver = recipe, solver
        self.sums: NormalEquations | None = None
        self.pairs = nn.ModuleList(draw_pairs(model, solver=solver, seed=recipe.seed))
        passes = PASSES if recipe.objective == "denoising" else 1
        self.stages: list[tuple[str, int]] = []
        for layer in range(depth):
            closed = 1 if layer else passes  # only images are corrupted
            self.stages += [(solver, layer)] * (closed if solver == "ridge" else recipe.epochs)
        for layer in range(depth):
            self.stages += [(REFIT, layer)] * passes

    def pair(self, layer: int) -> Autoencoder:
        """That layer, random, and its mirror."""
        return self.pairs[layer]  # type: ignore[return-value]

    def begins(self, epoch: int) -> bool:
        """Whether another stage was before that epoch."""
        return epoch in (0, len(self.stages)) or self.stages[epoch] != self.stages[epoch - 1]

    def build_optimizers(self, *, steps: int) -> tuple[list[Optimizer], list[LRScheduler]]:
        """One of each per layer; no schedulers where the rate is constant. `steps` are those of an epoch."""
        optimizers = [build_optimizer(pair, self.recipe) for pair in self.pairs]
        total = steps * self.recipe.epochs
        schedulers = [build_scheduler(optimizer, self.recipe, steps=total) for optimizer in optimizers]
        return optimizers, [scheduler for scheduler in schedulers if scheduler]

    def step(self, lit: L.LightningModule, model: Autoencoder, batch: Batch, corrupt: Corrupt) -> torch.Tensor | None:
        """Learn from one batch of the current epoch; the loss, where one is descended."""
        (work, layer), loss = self.stages[lit.current_epoch], None
        optimizer = _each(lit.optimizers())[layer]
        if work == "gradient-descent":
            loss = self._loss(model, layer, batch, corrupt)
            optimizer.zero_grad()
            lit.manual_backward(loss)
            optimizer.step()
            for scheduler in _each(lit.lr_schedulers())[layer : layer + 1]:
                scheduler.step()
        else:
            with torch.no_grad(), torch.autocast(lit.device.type, enabled=False):
                sums = normal_equations([self._presentation(model, work, layer, batch, corrupt)])
            self.sums = self.sums + sums if self.sums else sums
        if lit.trainer.is_last_batch and self.begins(lit.current_epoch + 1):
            self._finish(model, work, layer)
            if loss is None:
                optimizer.step()  # has no gradient; but without a step Lightning saves no checkpoint
        return loss

    def _loss(self, model: Autoencoder, layer: int, batch: Batch, corrupt: Corrupt) -> torch.Tensor:
        with torch.no_grad():
            inputs, targets = _pair_batch(model, layer, batch, corrupt)
        return pair_criterion(self.pair(layer), self.recipe)(self.pair(layer)(inputs), targets)

    def _presentation(self, model: Autoencoder, work: str, layer: int, batch: Batch, corrupt: Corrupt) -> Batch:
        """(features float64, targets), whose least squares are the weight sought."""
        if work == REFIT:
            features, target = refit_maps(model, layer)
            return features(corrupt(batch[0])).double(), target(batch[1])
        inputs, targets = _pair_batch(model, layer, batch, corrupt)
        return self.pair(layer).encode(inputs).double(), targets

    def _finish(self, model: Autoencoder, work: str, layer: int) -> None:
        """Put what was found where it belongs."""
        contraction = self.recipe.contraction if self.recipe.objective == "contractive" and work != REFIT else 0.0
        found = decoder_weight(self.pair(layer))
        if self.sums:
            found, self.sums = self.sums.solve(contraction=contraction).weight.T, None
        if work == REFIT:
            fill(model.decoder[2 * layer], found)
        else:
            place_layer(model, layer, found)


def _pair_batch(model: Autoencoder, layer: int, batch: Batch, corrupt: Corrupt) -> Batch:
    """Corrupted images and clean ones; above the first layer, the clean activations below."""
    if layer == 0:
        return corrupt(batch[0]), batch[1]
    clean = model.encoder[: 2 * layer](batch[1])
    return clean, clean


def _each(found: Any) -> list[Any]:
    """Lightning gives one optimizer or scheduler by itself, several in a list."""
    return found if isinstance(found, list) else [found] if found else []
