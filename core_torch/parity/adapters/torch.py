"""TorchCandidate: a PyTorch module, its loss and its optimizer, as a comparison asks them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import nn

from core_torch.parity.candidate import Arrays
from core_torch.parity.recorded.trees import Tensors, Tree, flatten, map_leaves

STATE_NAMES = {
    "momentum_buffer": "momentum",
    "exp_avg": "first_moment",
    "exp_avg_sq": "second_moment",
    "max_exp_avg_sq": "largest_second_moment",
    "square_avg": "second_moment",
}

Criterion = Callable[[Tensors, Tensors], torch.Tensor]
Model = TypeVar("Model", bound=nn.Module)


class TorchCandidate(Generic[Model]):
    """See `core_torch.parity.candidate.Candidate`.

    Args:
        model: called as model(x), model(*tuple) or model(**dictionary), whichever the inputs are.
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
        """{name: parameter}; a tied one stands once, under its first name."""
        return dict(self.model.named_parameters())

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Parameters, and the buffers that hold floats and are part of the module's state."""
        kept = self.model.state_dict(keep_vars=True)
        buffers = {name: buffer for name, buffer in self.model.named_buffers() if name in kept}
        floats = {name: buffer for name, buffer in buffers.items() if buffer.is_floating_point()}
        return {**self.parameters, **floats}

    def load(self, weights: Arrays) -> None:
        """Set every parameter and buffer; forget the optimizer's state."""
        tensors = self.tensors
        if tensors.keys() != weights.keys():
            raise KeyError(f"weights: found {sorted(weights)}, allowed: {sorted(tensors)}")
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(torch.from_numpy(np.array(weights[name])))
        self.model.zero_grad(set_to_none=True)
        self.optimizer = self.build_optimizer(self.model)

    def weights(self) -> Arrays:
        """Copies of the current parameters and buffers."""
        return {name: _to_numpy(tensor).copy() for name, tensor in self.tensors.items()}

    def activations(self, inputs: Tree) -> Arrays:
        """{"input" of one array, every layer without layers inside it by its name, "output"}, in evaluation mode."""
        with self.evaluating():
            return layer_outputs(self.model, self.to_tensor(inputs))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put the module in evaluation mode, and back in the mode in which it was."""
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)

    def loss_and_gradients(self, inputs: Tree, targets: Tree) -> tuple[float, Arrays]:
        """Loss and gradients by autograd; running statistics are put back."""
        before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        loss = self.loss(inputs, targets)
        gradients = gradients_of(loss, self.model)
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(before[name])
        return loss.item(), gradients

    def step(self, inputs: Tree, targets: Tree) -> float:
        """Take one optimizer step; return the loss before it."""
        self.optimizer.zero_grad()
        loss = self.loss(inputs, targets)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def loss(self, inputs: Tree, targets: Tree) -> torch.Tensor:
        """The loss of a batch, in the module's present mode."""
        return self.criterion(call(self.model, self.to_tensor(inputs)), self.to_tensor(targets))

    def set_learning_rate(self, learning_rate: float) -> None:
        """From the next step on; a rate that is a tensor, as CUDA graphs need it, stays that tensor."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"].fill_(learning_rate) if torch.is_tensor(group["lr"]) else learning_rate

    def optimizer_state(self) -> Arrays:
        """{"momentum/NAME", "first_moment/NAME", ...}."""
        return state_of(self.optimizer, self.model)

    def to_tensor(self, tree: Tree) -> Tensors:
        """Move arrays to the weights' device; floats get the weights' type, whole numbers keep theirs."""
        weight = next(self.model.parameters())

        def convert(array: np.ndarray) -> torch.Tensor:
            tensor = torch.from_numpy(np.array(array))
            return tensor.to(weight.device, weight.dtype if tensor.is_floating_point() else tensor.dtype)

        return map_leaves(convert, tree)


def call(model: nn.Module, inputs: Tensors) -> Tensors:
    """Call a module on one tensor, on a tuple of arguments, or on a dictionary of named ones."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


@torch.no_grad()
def layer_outputs(model: nn.Module, inputs: Tensors) -> Arrays:
    """{"input" of one array, the output of every layer without layers inside it by its name, "output"}."""
    found: dict[str, Tensors] = {"input": inputs} if torch.is_tensor(inputs) else {}
    handles = [layer.register_forward_hook(_keep(found, name)) for name, layer in _leaves(model)]
    try:
        output = call(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    found["output"] = output
    named: Arrays = {}
    for name, value in found.items():
        named |= flatten(map_leaves(_to_numpy, _tensors_only(value)), name=name)
    return named


def _tensors_only(value: Tensors) -> Tensors:
    """Drop what is no tensor, for instance the missing weights that attention returns."""
    if isinstance(value, dict):
        return {key: _tensors_only(branch) for key, branch in value.items() if branch is not None}
    if isinstance(value, tuple | list):
        kept = tuple(_tensors_only(branch) for branch in value if branch is not None)
        return kept[0] if len(kept) == 1 else kept
    return value


def _leaves(model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    return ((name, layer) for name, layer in model.named_modules() if name and not any(layer.children()))


def _keep(found: dict[str, Tensors], name: str) -> Callable[[nn.Module, object, Tensors], None]:
    def hook(layer: nn.Module, inputs: object, output: Tensors) -> None:
        if name not in found:  # a layer that is called twice shows its first output
            # A copy: the next layer may change its input in place.
            found[name] = map_leaves(lambda part: part.clone() if torch.is_tensor(part) else part, output)

    return hook


def gradients_of(loss: torch.Tensor, model: nn.Module) -> Arrays:
    """{name: gradient}, by autograd; zero for a weight that the loss does not reach, none for a frozen one."""
    moving = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    names, parameters = zip(*moving, strict=True)
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    return {name: _to_numpy(gradient) for name, gradient in zip(names, gradients, strict=True)}


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
