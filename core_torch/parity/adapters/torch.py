"""TorchCandidate: a PyTorch module, its loss and its optimizer, as a comparison asks them."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import nn

from core_torch.parity.candidate import Arrays

STATE_NAMES = {"momentum_buffer": "momentum", "exp_avg": "first_moment", "exp_avg_sq": "second_moment"}

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Model = TypeVar("Model", bound=nn.Module)


class TorchCandidate(Generic[Model]):
    """See `core_torch.parity.candidate.Candidate`.

    Args:
        model: inputs (N, ...) in, outputs (N, ...) out; its parameters' names are the names of the weights.
        criterion: called as criterion(output, target); returns a scalar.
        build_optimizer: called with the model whenever weights are loaded, so that no state is left over.
    """

    def __init__(
        self, model: Model, criterion: Criterion, build_optimizer: Callable[[Model], torch.optim.Optimizer]
    ) -> None:
        self.model, self.criterion, self.build_optimizer = model, criterion, build_optimizer
        self.optimizer = build_optimizer(model)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """{name: parameter}."""
        return dict(self.model.named_parameters())

    def load(self, weights: Arrays) -> None:
        """Set every weight; forget the optimizer's state."""
        parameters = self.parameters
        if parameters.keys() != weights.keys():
            raise KeyError(f"weights: found {sorted(weights)}, allowed: {sorted(parameters)}")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(torch.from_numpy(np.array(weights[name])))
        self.optimizer = self.build_optimizer(self.model)

    def weights(self) -> Arrays:
        """Copies of the current weights."""
        return {name: _to_numpy(parameter).copy() for name, parameter in self.parameters.items()}

    def activations(self, inputs: np.ndarray) -> Arrays:
        """{"input", every layer without layers inside it by its name, "output"}."""
        return layer_outputs(self.model, self.to_tensor(inputs))

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Loss and gradients, by autograd."""
        loss = self.criterion(self.model(self.to_tensor(inputs)), self.to_tensor(targets))
        return loss.item(), gradients_of(loss, self.model)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """One optimizer step; the loss before it."""
        loss = self.criterion(self.model(self.to_tensor(inputs)), self.to_tensor(targets))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def set_learning_rate(self, learning_rate: float) -> None:
        """From the next step on; a rate that is a tensor, as CUDA graphs need it, stays that tensor."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"].fill_(learning_rate) if torch.is_tensor(group["lr"]) else learning_rate

    def optimizer_state(self) -> Arrays:
        """{"momentum/NAME", "first_moment/NAME", ...}."""
        return state_of(self.optimizer, self.model)

    def to_tensor(self, array: np.ndarray) -> torch.Tensor:
        """On the device and in the type of the weights."""
        weight = next(self.model.parameters())
        return torch.from_numpy(array).to(weight.device, weight.dtype)


@torch.no_grad()
def layer_outputs(model: nn.Module, inputs: torch.Tensor) -> Arrays:
    """{"input", the output of every layer without layers inside it by its name, "output"}."""
    found = {"input": inputs}
    handles = [layer.register_forward_hook(_keep(found, name)) for name, layer in _leaves(model)]
    try:
        found["output"] = model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {name: _to_numpy(value) for name, value in found.items()}


def _leaves(model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    return ((name, layer) for name, layer in model.named_modules() if name and not any(layer.children()))


def _keep(found: dict[str, torch.Tensor], name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
    def hook(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        found[name] = output

    return hook


def gradients_of(loss: torch.Tensor, model: nn.Module) -> Arrays:
    """{name: gradient}, by autograd; zero for a weight that the loss does not reach."""
    names, parameters = zip(*model.named_parameters())
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    return {name: _to_numpy(gradient) for name, gradient in zip(names, gradients)}


def state_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> Arrays:
    """{"momentum/NAME", ...}: the optimizer's state under the names of the oracle."""
    return {
        f"{STATE_NAMES[kind]}/{name}": _to_numpy(value)
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state[parameter].items()
        if kind in STATE_NAMES and value is not None
    }


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
