"""Right ports in PyTorch: one module, and the switches that change how PyTorch computes it.

Written from the spec alone, so that it shares nothing with `core_torch.models`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core_torch.parity.adapters.torch import TorchCandidate
from core_torch.parity.candidate import Arrays
from core_torch.spec.architecture import Architecture, FullyConnected
from core_torch.spec.errors import check_choice
from core_torch.spec.layers import (
    Activation,
    Convolution,
    Dense,
    Flatten,
    Layer,
    MaxPooling,
    TransposedConvolution,
    Unflatten,
)
from core_torch.spec.recipe import ADAM_BETAS, Recipe

MICRO_BATCH = 5  # images
OPTIMIZER_OPTIONS: dict[str, dict[str, bool]] = {
    "for loops": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}
VARIANTS = (
    *("default", *OPTIMIZER_OPTIONS, "channels last", "compiled", "without oneDNN", "two threads"),
    *("functional call", "gradient of each image", "micro-batches"),
)
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "silu": nn.SiLU, "linear": nn.Identity}


class Tied(nn.Module):
    """A dense layer by the transpose of another's weight, with a bias of its own."""

    def __init__(self, other: nn.Linear, *, bias: bool) -> None:
        super().__init__()
        self.others = [other]  # in a list, so that its parameters are not registered twice
        self.bias = nn.Parameter(torch.zeros(other.in_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x W + b."""
        return F.linear(x, self.others[0].weight.T, self.bias)


class PaddedConvolution(nn.Conv2d):
    """Zeros before and after each axis, which may differ."""

    def __init__(self, layer: Convolution) -> None:
        super().__init__(layer.inputs, layer.outputs, layer.kernel, layer.stride)
        self.border = (*layer.padding, *layer.padding)

    def forward(self, x: Tensor) -> Tensor:
        """Pad, convolve."""
        return super().forward(F.pad(x, self.border))


class CroppedTransposedConvolution(nn.ConvTranspose2d):
    """The full output without its border."""

    def __init__(self, layer: TransposedConvolution) -> None:
        super().__init__(layer.inputs, layer.outputs, layer.kernel, layer.stride)
        self.before, self.after = layer.crop

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve, crop."""
        full = super().forward(x)
        rows, columns = (slice(self.before, side - self.after) for side in full.shape[2:])
        return full[:, :, rows, columns]


class Network(nn.Module):
    """The architecture; its parameters have the reference's names."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.shape = architecture.input_shape
        self.encoder = nn.Sequential(*map(build_layer, architecture.encoder_layers()))
        decoder = [build_layer(layer) for layer in architecture.decoder_layers()]
        if isinstance(architecture, FullyConnected) and architecture.tied:
            dense = [layer for layer in self.encoder if isinstance(layer, nn.Linear)]
            decoder[::2] = [Tied(layer, bias=architecture.bias) for layer in reversed(dense)]
        self.decoder = nn.Sequential(*decoder)

    def encode(self, x: Tensor) -> Tensor:
        """(N, pixels) -> (N, code width)."""
        result: Tensor = self.encoder(x.reshape(len(x), *self.shape))
        return result

    def forward(self, x: Tensor) -> Tensor:
        """(N, pixels) -> (N, pixels)."""
        result: Tensor = self.decoder(self.encode(x))
        return result


def build_layer(layer: Layer) -> nn.Module:
    """PyTorch's module for a layer of the spec."""
    match layer:
        case Dense(inputs, outputs, bias):
            return nn.Linear(inputs, outputs, bias=bias)
        case Activation(name):
            result: nn.Module = ACTIVATIONS[name]()
            return result
        case Convolution():
            return PaddedConvolution(layer)
        case TransposedConvolution():
            return CroppedTransposedConvolution(layer)
        case MaxPooling(size):
            return nn.MaxPool2d(size)
        case Flatten():
            return nn.Flatten()
        case Unflatten(channels, side):
            return nn.Unflatten(1, (channels, side, side))


class VariantCandidate(TorchCandidate[Network]):
    """See `core_torch.parity.candidate.Candidate`."""

    def __init__(self, architecture: Architecture, recipe: Recipe, *, dtype: str, variant: str) -> None:
        self.recipe, self.variant = recipe, variant
        model = Network(architecture).to(getattr(torch, dtype))
        if variant == "channels last":
            model = model.to(memory_format=torch.channels_last)
        super().__init__(model, F.mse_loss, self.build)
        if variant == "compiled":
            self.compute = torch.compile(self.compute, dynamic=False)  # type: ignore[method-assign]

    def build(self, model: Network) -> torch.optim.Optimizer:
        """The recipe's optimizer, by the variant's loop over parameters."""
        recipe, parameters = self.recipe, list(model.parameters())
        options: dict[str, Any] = {"lr": recipe.learning_rate, **OPTIMIZER_OPTIONS.get(self.variant, {})}
        if recipe.optimizer == "sgd":
            return torch.optim.SGD(parameters, momentum=recipe.momentum, nesterov=recipe.nesterov, **options)
        options |= {"betas": ADAM_BETAS, "eps": recipe.epsilon}
        if recipe.optimizer == "adam":
            return torch.optim.Adam(parameters, **options)
        return torch.optim.AdamW(parameters, weight_decay=recipe.weight_decay, **options)

    def compute(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The objective."""
        loss = F.mse_loss(self.model(inputs), targets)
        if self.recipe.objective != "contractive":
            return loss
        jacobian = torch.func.vmap(torch.func.jacrev(lambda image: self.model.encode(image[None])[0]))(inputs)
        result: Tensor = loss + self.recipe.contraction * jacobian.square().sum() / len(inputs)
        return result

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """By the variant's differentiation."""
        loss, gradients = self.derivatives(self.to_tensor(inputs), self.to_tensor(targets))
        return loss.item(), {name: gradient.detach().numpy().copy() for name, gradient in gradients.items()}

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """One optimizer step; the loss before it."""
        loss, gradients = self.derivatives(self.to_tensor(inputs), self.to_tensor(targets))
        for name, parameter in self.model.named_parameters():
            parameter.grad = torch.empty_like(parameter).copy_(gradients[name])  # fused steps need the same strides
        self.optimizer.step()
        return loss.item()

    def derivatives(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and gradients, with the variant's settings."""
        torch.set_num_threads(2 if self.variant == "two threads" else 1)
        with torch.backends.mkldnn.flags(enabled=self.variant != "without oneDNN"):
            return DERIVATIVES.get(self.variant, by_backward)(self, inputs, targets)


def by_backward(port: VariantCandidate, inputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Autograd over the whole batch."""
    loss = port.compute(inputs, targets)
    names, parameters = zip(*port.model.named_parameters())
    return loss, dict(zip(names, torch.autograd.grad(loss, parameters, materialize_grads=True)))


def by_parts(port: VariantCandidate, inputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradients accumulated over micro-batches, each weighted by its images."""
    total, gradients = inputs.new_zeros(()), dict[str, Tensor]()
    for part, aim in zip(inputs.split(MICRO_BATCH), targets.split(MICRO_BATCH)):
        loss, found = by_backward(port, part, aim)
        share = len(part) / len(inputs)
        total = total + share * loss
        gradients = {name: gradients.get(name, 0) + share * gradient for name, gradient in found.items()}
    return total, gradients


def by_function(port: VariantCandidate, inputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """`torch.func.grad_and_value` of a functional call."""
    gradients, loss = torch.func.grad_and_value(loss_of(port))(parameters_of(port), inputs, targets)
    return loss, gradients


def by_image(port: VariantCandidate, inputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The gradient of each image by vmap, then their mean."""
    one = torch.func.vmap(torch.func.grad_and_value(loss_of(port)), in_dims=(None, 0, 0))
    gradients, losses = one(parameters_of(port), inputs[:, None], targets[:, None])
    return losses.mean(), {name: gradient.mean(0) for name, gradient in gradients.items()}


def parameters_of(port: VariantCandidate) -> dict[str, Tensor]:
    """Detached, as functions take them."""
    return {name: value.detach() for name, value in port.model.named_parameters()}


def loss_of(port: VariantCandidate) -> Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]:
    """The objective as a function of the parameters."""

    class Objective(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = port.model

        def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
            return port.compute(inputs, targets)

    objective = Objective()

    def loss(parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        named = {f"model.{name}": value for name, value in parameters.items()}
        result: Tensor = torch.func.functional_call(objective, named, (inputs, targets))
        return result

    return loss


DERIVATIVES = {"micro-batches": by_parts, "functional call": by_function, "gradient of each image": by_image}


def build_candidate(
    architecture: Architecture, recipe: Recipe, *, dtype: str = "float32", variant: str = "default"
) -> VariantCandidate:
    """A right port, as the variant computes it."""
    check_choice("variant", variant, VARIANTS)
    return VariantCandidate(architecture, recipe, dtype=dtype, variant=variant)
