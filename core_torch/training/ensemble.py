"""Many models of one shape trained at once: their weights are stacked, and a step is one batched product for all.

Worth it where a step of one model leaves a GPU idle; a processor that one model keeps busy gains nothing.
"""

import math
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import hold_out
from core_torch.models.autoencoder import Autoencoder
from core_torch.spec.batch_order import epoch_order
from core_torch.spec.ensembles import check_alike
from core_torch.spec.errors import ConfigError, DivergenceError
from core_torch.spec.recipe import Recipe
from core_torch.training.history import History
from core_torch.training.loop import build_corruption, build_optimizer, build_scheduler, error_on

Stack = dict[str, torch.Tensor]  # {parameter: (models, *shape)}


def train_ensemble(
    models: Sequence[Autoencoder], dataset: ResidentDataset, *, recipes: Sequence[Recipe]
) -> list[History | DivergenceError]:
    """Train every model in place by its own recipe, on its own held-out choice, order and noise, as `train` would.

    Returns:
        One History per model, without times. A model that diverges returns its DivergenceError; the others continue.

    Raises:
        ConfigError: architectures differ, recipes differ in more than `ensembles.MEMBER_FIELDS`, the objective is
            contractive, they would stop early, a model is there twice, or a weight is frozen or not float32.
    """
    models = list(models)
    check_models(models, recipes)
    shared = recipes[0]
    kept, held = zip(*(hold_out(len(dataset), fraction=shared.validation_fraction, seed=each.seed) for each in recipes))
    ensemble = Ensemble(models, dataset, recipes, steps=shared.epochs * math.ceil(len(kept[0]) / shared.batch_size))
    validation_sets = [dataset.subset(images) if len(images) else None for images in held]
    histories: list[History | DivergenceError] = [History() for _ in models]
    for epoch in range(shared.epochs):
        orders = [images[epoch_order(len(images), seed=each.seed, epoch=epoch)] for images, each in zip(kept, recipes)]
        losses = ensemble.epoch(torch.from_numpy(np.stack(orders)).to(dataset.device), shared.batch_size)
        judged = zip(histories, losses.tolist(), ensemble.are_finite().tolist(), validation_sets, models)
        histories = [
            history
            if isinstance(history, DivergenceError)
            else _record(history, epoch, loss=loss, is_finite=is_finite, validation_mse=error_on(validation_set, model))
            for history, loss, is_finite, validation_set, model in judged
        ]
    ensemble.release(models)
    return histories


def _record(
    history: History, epoch: int, *, loss: float, is_finite: bool, validation_mse: float | None
) -> History | DivergenceError:
    try:
        history.record(epoch, loss=loss, validation_mse=validation_mse)
    except DivergenceError as error:
        return error
    return history if is_finite else DivergenceError(f"epoch {epoch}: a weight is not finite; lower the learning_rate")


def check_models(models: Sequence[Autoencoder], recipes: Sequence[Recipe]) -> None:
    """Raise `ConfigError` unless these can be trained together."""
    if not models or len(models) != len(recipes):
        raise ConfigError(f"recipes: found {len(recipes)} for {len(models)} models, allowed: one each")
    if len({*map(id, models)}) < len(models):
        raise ConfigError("models: found one twice, allowed: once")
    weights = [weight for model in models for weight in model.parameters()]
    if not all(weight.requires_grad and weight.dtype == torch.float32 for weight in weights):
        raise ConfigError("models: found a weight that is frozen or not float32, allowed: all trained in float32")
    check_alike([model.architecture for model in models], recipes)


class Ensemble:
    """The models' parameters, until `release` views of stacked ones, with one optimizer for all."""

    def __init__(
        self, models: Sequence[Autoencoder], dataset: ResidentDataset, recipes: Sequence[Recipe], *, steps: int
    ) -> None:
        self.dataset = dataset
        self.model = deepcopy(models[0]).to("meta")  # the computation without the weights
        parameters = [dict(model.to(dataset.device).named_parameters()) for model in models]
        self.weights: Stack = {name: torch.stack([each[name].data for each in parameters]) for name in parameters[0]}
        self.gradients: Stack = {name: torch.zeros_like(stacked) for name, stacked in self.weights.items()}
        for number, each in enumerate(parameters):
            for name, parameter in each.items():
                parameter.data, parameter.grad = self.weights[name][number], self.gradients[name][number]
        self.optimizer = build_optimizer(models[0], recipes[0])
        for model, recipe in zip(models[1:], recipes[1:]):
            self.optimizer.add_param_group({"params": [*model.parameters()], "lr": recipe.learning_rate})
        self.scheduler = build_scheduler(self.optimizer, recipes[0], steps=steps)
        self.corruptions = [build_corruption(recipe, dataset.device) for recipe in recipes]
        self.differentiate = vmap(grad_and_value(self._loss))

    def release(self, models: Sequence[Autoencoder]) -> None:
        """Give every model memory of its own again."""
        for model in models:
            for parameter in model.parameters():
                parameter.data, parameter.grad = parameter.data.clone(), None

    def epoch(self, orders: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Train each model on the images of its row of `orders` (models, images); mean losses (models,)."""
        total = torch.zeros(len(orders), device=orders.device)
        for index in orders.split(batch_size, dim=1):
            inputs, targets = self.dataset.gather(index.reshape(-1))
            inputs, targets = (batch.reshape(*index.shape, *batch.shape[1:]) for batch in (inputs, targets))
            total += index.shape[1] * self.step(self._corrupt(inputs), targets)
        return total / orders.shape[1]

    def are_finite(self) -> torch.Tensor:
        """Say of each model whether every weight is finite, (models,)."""
        return torch.stack([weights.isfinite().flatten(1).all(1) for weights in self.weights.values()]).all(0)

    def step(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Step every model on its own batch (models, B, ...); the losses before it, (models,)."""
        losses: torch.Tensor
        gradients, losses = self.differentiate(self.weights, inputs, targets)
        for name, gradient in gradients.items():
            self.gradients[name].copy_(gradient)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        return losses

    def _loss(self, weights: Stack, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(functional_call(self.model, weights, (inputs,)), targets)

    def _corrupt(self, inputs: torch.Tensor) -> torch.Tensor:
        drawn = [corrupt(batch) if corrupt else batch for corrupt, batch in zip(self.corruptions, inputs)]
        return torch.stack(drawn) if any(self.corruptions) else inputs
