"""The readable loop: what everything faster must be equal to."""

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from copy import deepcopy
from itertools import islice

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from tqdm import tqdm

from core_torch.data.corruption import Corruption
from core_torch.data.resident import Batch, ResidentDataset
from core_torch.models.autoencoder import Autoencoder
from core_torch.objectives.contractive import ContractiveLoss
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.spec.architecture import describe
from core_torch.spec.early_stopping import EarlyStopping
from core_torch.spec.recipe import ADAM_BETAS, Recipe
from core_torch.training.checkpoints import Checkpoints, dataset_hash
from core_torch.training.history import History
from core_torch.training.monitor import TrainingMonitor
from core_torch.training.state import TrainingState

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Corrupt = Callable[[torch.Tensor], torch.Tensor]


def train(
    model: Autoencoder,
    dataset: ResidentDataset,
    *,
    recipe: Recipe | None = None,
    criterion: Criterion | None = None,
    validation: ResidentDataset | None = None,
    progress: bool = True,
    checkpoints: Checkpoints | None = None,
    on_epoch: Callable[[History], None] | None = None,
) -> History:
    """Train in place, on the dataset's device.

    Args:
        recipe: every number; `Recipe()` by default.
        criterion: called as `criterion(output, target)`; by default what the recipe's objective says.
        validation: judges epochs; by default the recipe's fraction of `dataset`, which is then not trained on.
        checkpoints: to go on from, if they are of this run, and to save as training goes; a criterion of your own
            has to be the same each time.
        on_epoch: called after each epoch.

    Raises:
        DivergenceError: a loss, a gradient or a weight is not finite; see `TrainingMonitor`.
        CheckpointError: the checkpoints are of another run, or cannot be written.
    """
    recipe = recipe or Recipe()
    if validation is None and recipe.validation_fraction:
        dataset, validation = dataset.hold_out(recipe.validation_fraction, seed=recipe.seed)
    model.to(dataset.device).train()
    criterion = criterion or build_criterion(model, recipe)
    optimizer = build_optimizer(model, recipe)
    scheduler = build_scheduler(optimizer, recipe, steps=recipe.epochs * math.ceil(len(dataset) / recipe.batch_size))
    noise = torch.Generator(dataset.device).manual_seed(recipe.seed)
    corrupt = build_corruption(recipe, dataset.device, generator=noise)
    monitor = TrainingMonitor(model)
    state = TrainingState(model, optimizer, scheduler, criterion, noise, monitor)
    run = identity(model, recipe, dataset, validation) if checkpoints else {}
    with checkpoints.autosave(state, run=run) if checkpoints else nullcontext():
        history = state.history
        stopping = EarlyStopping(recipe.patience, history.validation_mse)
        epochs = tqdm(range(monitor.epoch, recipe.epochs), unit="epoch", disable=not progress)
        for epoch in epochs:
            if stopping.should_stop:
                break
            batches = islice(dataset.batches(recipe.batch_size, seed=recipe.seed, epoch=epoch), monitor.steps, None)
            loss = train_epoch(
                model,
                batches,
                criterion=criterion,
                optimizer=optimizer,
                scheduler=scheduler,
                corrupt=corrupt,
                monitor=monitor,
            )
            error = error_on(validation, model)
            history.record(epoch, loss=loss, validation_mse=error)
            history.seconds.append(monitor.seconds)
            epochs.set_postfix({name: f"{values[-1]:.5f}" for name, values in history.curves().items()})
            if on_epoch is not None:
                on_epoch(history)
            if stopping.update(error):
                state.best_weights = deepcopy(model.state_dict())
            monitor.next_epoch()
    if state.best_weights is not None:
        model.load_state_dict(state.best_weights)
    return history


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    criterion: Criterion,
    optimizer: torch.optim.Optimizer,
    scheduler: LRScheduler | None = None,
    corrupt: Corrupt | None = None,
    monitor: TrainingMonitor | None = None,
) -> float:
    """Train for one pass; returns the criterion averaged over images.

    The running sum stays on the device: the host waits once, at the end. `DivergenceError`: see `TrainingMonitor`.
    """
    monitor = monitor or TrainingMonitor(model)
    for inputs, targets in batches:
        output = model(corrupt(inputs) if corrupt else inputs)
        loss = criterion(output, targets)
        optimizer.zero_grad()
        loss.backward()
        monitor.loss(loss, inputs)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        monitor.step()
    return monitor.mean()


def error_on(validation: ResidentDataset | None, model: Autoencoder) -> float | None:
    """Compute the model's squared error per pixel there, or None without a split."""
    return None if validation is None else mean_squared_error(model, validation)


def identity(
    model: Autoencoder, recipe: Recipe, dataset: ResidentDataset, validation: ResidentDataset | None
) -> dict[str, object]:
    """List what two processes must have in common for one to go on where the other was."""
    return {
        "architecture": describe(model.architecture),
        "recipe": recipe.to_dict(),
        "dataset": dataset_hash(dataset),
        "validation": dataset_hash(validation),
        "device": dataset.device.type,
    }


def build_criterion(model: Autoencoder, recipe: Recipe) -> Criterion:
    """Build the mean squared error, with the contractive penalty where the objective asks for it."""
    if recipe.objective == "contractive":
        return ContractiveLoss(model, weight=recipe.contraction, seed=recipe.seed)
    return nn.MSELoss()


def build_corruption(
    recipe: Recipe, device: torch.device, *, generator: torch.Generator | None = None
) -> Corrupt | None:
    """Build the noise of the denoising objective, drawn afresh at every call, from the recipe's seed or a generator."""
    if recipe.objective != "denoising":
        return None
    corruption = Corruption(recipe.corruption, recipe.corruption_level)
    source = generator or torch.Generator(device).manual_seed(recipe.seed)
    return lambda inputs: corruption(inputs, source)


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build SGD with momentum, Adam (Kingma and Ba 2015), or AdamW (Loshchilov and Hutter 2019)."""
    parameters, rate = model.parameters(), recipe.learning_rate
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=recipe.momentum, nesterov=recipe.nesterov)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, betas=ADAM_BETAS, eps=recipe.epsilon)
    decay = recipe.weight_decay
    return torch.optim.AdamW(parameters, rate, betas=ADAM_BETAS, eps=recipe.epsilon, weight_decay=decay)


def build_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, *, steps: int) -> LRScheduler | None:
    """Build one cycle over all steps (Smith and Topin 2019, cosine form), or nothing."""
    if recipe.schedule == "constant" or steps < 2:  # a cycle of one step would be its cold start
        return None
    rates = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, rates, total_steps=steps, cycle_momentum=False)
