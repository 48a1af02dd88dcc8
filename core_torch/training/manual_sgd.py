"""Stochastic gradient descent on a dense model without autograd: the step written out, in memory that is made once.

Opt-in, for a processor, where a step of a small model spends a quarter of its time beside the matrix products, and more
than half of a small batch's. The products are the readable loop's, and so is the formula; factors are taken into the
products, so that the weights are equal to rounding, not bit for bit.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from core_torch.data.resident import Batch
from core_torch.models.autoencoder import Autoencoder
from core_torch.spec.architecture import FullyConnected
from core_torch.spec.errors import ConfigError, DivergenceError, check_integer
from core_torch.spec.recipe import Recipe

SMALLEST_UNIT = 1e-6  # rescale velocities at this unit; a smaller momentum could overflow float32 in one step
aten = torch.ops.aten
InPlace = Callable[..., torch.Tensor]
# {activation: (itself, the output's gradient -> the input's)}, in place, and both from the output alone.
ACTIVATIONS: dict[type[nn.Module], tuple[InPlace, InPlace]] = {
    nn.ReLU: (torch.relu_, lambda delta, y: aten.threshold_backward.grad_input(delta, y, 0, grad_input=delta)),
    nn.Sigmoid: (torch.sigmoid_, lambda delta, y: aten.sigmoid_backward.grad_input(delta, y, grad_input=delta)),
    nn.Tanh: (torch.tanh_, lambda delta, y: aten.tanh_backward.grad_input(delta, y, grad_input=delta)),
    nn.Identity: (lambda y: y, lambda delta, y: delta),
}


@dataclass
class Layer:
    """A linear layer with its activation; tensors are the model's own memory, or made once."""

    weight: torch.Tensor  # (outputs, inputs)
    bias: torch.Tensor | None
    activate: InPlace
    differentiate: InPlace
    output: torch.Tensor  # (images, outputs)
    delta: torch.Tensor  # (images, outputs), the gradient of the output, then of the product
    velocity: torch.Tensor  # the momentum buffer of the weight, and of the bias
    bias_velocity: torch.Tensor


class ManualSGD:
    """What `train_epoch` does under the recipe's SGD and the mean squared error, without noise.

    Args:
        model: fully connected; trained in place. Moved elsewhere afterwards, it is no longer what is trained.
        recipe: its learning rate, momentum and largest batch.

    Attributes:
        learning_rate: from the next step on.

    Raises:
        ConfigError: the recipe or the model is not supported.
    """

    def __init__(self, model: Autoencoder, recipe: Recipe) -> None:
        check_plain(model, recipe)
        self.learning_rate, self.momentum, self.unit = recipe.learning_rate, recipe.momentum, 1.0
        modules = [*model.encoder, *model.decoder]
        self.layers = [
            _layer(linear, activation, recipe.batch_size) for linear, activation in zip(modules[::2], modules[1::2])
        ]
        self.ones = self.layers[0].weight.new_ones(recipe.batch_size)

    def run(self, batches: Iterable[Batch]) -> float:
        """Train for one pass; the error averaged over pixels. `DivergenceError`: it, or a weight, is not finite."""
        total, pixels = self.ones.new_zeros(()), 0
        for inputs, targets in batches:
            total += self.step(inputs, targets)
            pixels += targets.numel()
        check_integer("pixels", pixels, minimum=1)
        mean = float(total) / pixels
        if not math.isfinite(mean):
            raise DivergenceError(f"the training loss is {mean}; lower the learning_rate")
        weights = (weight for layer in self.layers for weight in (layer.weight, layer.bias))
        if not all(weight is None or weight.isfinite().all() for weight in weights):
            raise DivergenceError("a weight is not finite, which a saturated unit hides; lower the learning_rate")
        return mean

    def step(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Update from a batch (B, ...), B at most the recipe's; the sum of its squared errors before it."""
        count = len(inputs)
        check_integer("images", count, minimum=1)
        if targets.shape != (expected := (count, self.layers[-1].output.shape[1])):
            raise ConfigError(f"targets: found {tuple(targets.shape)}, allowed: {expected}")
        outputs = [inputs.flatten(1)]
        for layer in self.layers:
            product = first(count, layer.output)
            if layer.bias is None:
                torch.mm(outputs[-1], layer.weight.t(), out=product)
            else:
                torch.addmm(layer.bias, outputs[-1], layer.weight.t(), out=product)
            outputs.append(layer.activate(product))
        delta = torch.sub(outputs[-1], targets, out=first(count, self.layers[-1].delta))
        # Image by image: one float32 sum over a batch would be off by a millionth.
        squares: torch.Tensor = torch.linalg.vector_norm(delta, dim=1).square().sum()
        self._descend(delta, outputs, factor=2 / delta.numel())
        return squares

    def _descend(self, delta: torch.Tensor, outputs: list[torch.Tensor], *, factor: float) -> None:
        """Update from the last layer to the first; `factor` times `delta` is the gradient of the last output."""
        ones, unit = first(len(delta), self.ones), self._next_unit()
        options = {"beta": 1.0 if self.momentum else 0.0, "alpha": factor / unit}
        for index in reversed(range(len(self.layers))):
            layer = self.layers[index]
            layer.differentiate(delta, outputs[index + 1])
            layer.velocity.addmm_(delta.t(), outputs[index], **options)
            if layer.bias is not None:
                layer.bias_velocity.addmv_(delta.t(), ones, **options)
                layer.bias.add_(layer.bias_velocity, alpha=-self.learning_rate * unit)
            if index:
                delta = torch.mm(delta, layer.weight, out=first(len(delta), self.layers[index - 1].delta))
            layer.weight.add_(layer.velocity, alpha=-self.learning_rate * unit)

    def _next_unit(self) -> float:
        """Return what a velocity of 1 stands for: momentum shrinks the unit, not the velocities.

        A product adds to memory at no cost, but scales it too at that of another pass.
        """
        if self.unit < SMALLEST_UNIT:
            for layer in self.layers:
                layer.velocity.mul_(self.unit), layer.bias_velocity.mul_(self.unit)
            self.unit = 1.0
        self.unit *= self.momentum or 1.0
        return self.unit


def _layer(linear: nn.Linear, activation: nn.Module, batch_size: int) -> Layer:
    weight, bias = linear.weight.data, None if linear.bias is None else linear.bias.data
    activate, differentiate = ACTIVATIONS[type(activation)]
    output, delta = (weight.new_empty(batch_size, len(weight)) for _ in range(2))
    velocities = torch.zeros_like(weight), weight.new_zeros(len(weight))
    return Layer(weight, bias, activate, differentiate, output, delta, *velocities)


def first(count: int, memory: torch.Tensor) -> torch.Tensor:
    """Return the first rows. No view is made of all: it would take as long as a small layer's activation."""
    if count > len(memory):
        raise ConfigError(f"batch: found {count} images, allowed by the recipe's batch_size: {len(memory)}")
    return memory if count == len(memory) else memory[:count]


def check_plain(model: Autoencoder, recipe: Recipe) -> None:
    """Raise `ConfigError` unless the step is one that is written out here."""
    if 0 < recipe.momentum < SMALLEST_UNIT:
        raise ConfigError(f"momentum: found {recipe.momentum}, allowed by hand: 0, or {SMALLEST_UNIT} and more")
    allowed = {"optimizer": "sgd", "objective": "standard", "schedule": "constant", "nesterov": False}
    for name, value in allowed.items():
        if (found := getattr(recipe, name)) != value:
            raise ConfigError(f"{name}: found {found}, allowed by hand: {value}")
    if not isinstance(model.architecture, FullyConnected) or model.architecture.tied:
        raise ConfigError("model: found one that is not fully connected, or tied, allowed by hand: neither")
    for layer in (*model.encoder, *model.decoder):
        if not isinstance(layer, (nn.Linear, *ACTIVATIONS)):
            raise ConfigError(f"activation: found {type(layer).__name__}, allowed by hand: relu, sigmoid, tanh, linear")
    if not all(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("model: found a frozen weight, allowed by hand: none")
