"""The readable loop: what everything faster must be equal to."""

import math
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from tqdm import tqdm

from core_torch.contract.errors import DivergenceError
from core_torch.contract.recipe import ADAM_BETAS, Recipe
from core_torch.data.corruption import Corruption
from core_torch.data.resident import Batch, ResidentDataset
from core_torch.models.autoencoder import Autoencoder
from core_torch.objectives.contractive import ContractiveLoss
from core_torch.objectives.reconstruction import mean_squared_error

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Corrupt = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class History:
    """One value per epoch; epochs count from 0."""

    train_loss: list[float] = field(default_factory=list)  # the criterion, averaged over images
    validation_mse: list[float] = field(default_factory=list)  # squared error per pixel; empty without a split
    seconds: list[float] = field(default_factory=list)  # of wall time, validation included
    best_epoch: int = 0  # of least validation error; the last one without a split

    def record(self, epoch: int, *, loss: float, validation_mse: float | None) -> None:
        """Append an epoch; `DivergenceError` unless its errors are finite."""
        for name, value in (("training loss", loss), ("validation error", validation_mse)):
            if value is not None and not math.isfinite(value):
                raise DivergenceError(f"epoch {epoch}: the {name} is {value}; lower the learning_rate")
        if validation_mse is None or validation_mse < min(self.validation_mse, default=math.inf):
            self.best_epoch = epoch
        self.train_loss.append(loss)
        if validation_mse is not None:
            self.validation_mse.append(validation_mse)

    def curves(self) -> dict[str, list[float]]:
        """The columns that have values, without the times."""
        columns = {"train_loss": self.train_loss, "validation_mse": self.validation_mse}
        return {name: values for name, values in columns.items() if values}


def train(
    model: Autoencoder,
    dataset: ResidentDataset,
    *,
    recipe: Recipe | None = None,
    criterion: Criterion | None = None,
    validation: ResidentDataset | None = None,
    progress: bool = True,
) -> History:
    """Train in place, on the dataset's device.

    Args:
        recipe: every number; `Recipe()` by default.
        criterion: called as `criterion(output, target)`; by default what the recipe's objective says.
        validation: judges epochs; by default the recipe's fraction of `dataset`, which is then not trained on.

    Raises:
        DivergenceError: the loss of an epoch is not finite.
    """
    recipe = recipe or Recipe()
    if validation is None and recipe.validation_fraction:
        dataset, validation = dataset.hold_out(recipe.validation_fraction, seed=recipe.seed)
    model.to(dataset.device).train()
    criterion = criterion or build_criterion(model, recipe)
    optimizer = build_optimizer(model, recipe)
    scheduler = build_scheduler(optimizer, recipe, steps=recipe.epochs * math.ceil(len(dataset) / recipe.batch_size))
    corrupt = build_corruption(recipe, dataset.device)
    history, best_weights = History(), None
    for epoch in (bar := tqdm(range(recipe.epochs), unit="epoch", disable=not progress)):
        started = time.perf_counter()
        batches = dataset.batches(recipe.batch_size, seed=recipe.seed, epoch=epoch)
        loss = train_epoch(
            model, batches, criterion=criterion, optimizer=optimizer, scheduler=scheduler, corrupt=corrupt
        )
        history.record(epoch, loss=loss, validation_mse=error_on(validation, model))
        history.seconds.append(time.perf_counter() - started)
        bar.set_postfix({name: f"{values[-1]:.5f}" for name, values in history.curves().items()})
        if recipe.patience and history.best_epoch == epoch:
            best_weights = deepcopy(model.state_dict())
        if recipe.patience and epoch - history.best_epoch >= recipe.patience:
            break
    if best_weights is not None:
        model.load_state_dict(best_weights)
    return history


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    criterion: Criterion,
    optimizer: torch.optim.Optimizer,
    scheduler: LRScheduler | None = None,
    corrupt: Corrupt | None = None,
) -> float:
    """One pass; returns the criterion averaged over images.

    The running sum stays on the device: the host waits once, at the end.
    """
    total: torch.Tensor | float = 0.0
    count = 0
    for inputs, targets in batches:
        output = model(corrupt(inputs) if corrupt else inputs)
        loss = criterion(output, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        total, count = total + loss.detach() * len(inputs), count + len(inputs)
    return float(total) / count


def error_on(validation: ResidentDataset | None, model: Autoencoder) -> float | None:
    """The model's squared error per pixel there, or None without a split."""
    return None if validation is None else mean_squared_error(model, validation)


def build_criterion(model: Autoencoder, recipe: Recipe) -> Criterion:
    """Mean squared error, with the contractive penalty where the objective asks for it."""
    if recipe.objective == "contractive":
        return ContractiveLoss(model, weight=recipe.contraction, seed=recipe.seed)
    return nn.MSELoss()


def build_corruption(
    recipe: Recipe, device: torch.device, *, generator: torch.Generator | None = None
) -> Corrupt | None:
    """For the denoising objective, noise drawn afresh at every call, from the recipe's seed or a generator."""
    if recipe.objective != "denoising":
        return None
    corruption = Corruption(recipe.corruption, recipe.corruption_level)
    source = generator or torch.Generator(device).manual_seed(recipe.seed)
    return lambda inputs: corruption(inputs, source)


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with momentum, Adam (Kingma and Ba 2015), or AdamW (Loshchilov and Hutter 2019)."""
    parameters, rate = model.parameters(), recipe.learning_rate
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=recipe.momentum, nesterov=recipe.nesterov)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, betas=ADAM_BETAS, eps=recipe.epsilon)
    decay = recipe.weight_decay
    return torch.optim.AdamW(parameters, rate, betas=ADAM_BETAS, eps=recipe.epsilon, weight_decay=decay)


def build_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, *, steps: int) -> LRScheduler | None:
    """One cycle over all steps (Smith and Topin 2019, cosine form), or nothing."""
    if recipe.schedule == "constant" or steps < 2:  # a cycle of one step would be its cold start
        return None
    rates = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, rates, total_steps=steps, cycle_momentum=False)
