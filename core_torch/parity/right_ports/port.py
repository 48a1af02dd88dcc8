"""NumpyPort: a right port whose arithmetic, algorithms, batching and optimizer are chosen one by one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from core_torch.parity.candidate import Arrays
from core_torch.parity.right_ports.arithmetic import Arithmetic
from core_torch.parity.right_ports.convolvers import Im2col
from core_torch.parity.right_ports.functions import PLAIN, Curve
from core_torch.parity.right_ports.network import NumpyNetwork
from core_torch.parity.right_ports.objective import loss_and_gradients
from core_torch.parity.right_ports.updates import Update
from core_torch.spec.architecture import Architecture
from core_torch.spec.recipe import Recipe

Batching = Callable[[int], list[np.ndarray]]  # from the number of images to the parts in which they are taken


def whole(count: int) -> list[np.ndarray]:
    """All images at once."""
    return [np.arange(count)]


def backwards(count: int) -> list[np.ndarray]:
    """All images at once, the last first."""
    return [np.arange(count)[::-1]]


def shuffled(count: int) -> list[np.ndarray]:
    """All images at once, in another order."""
    return [np.random.default_rng(count).permutation(count)]


def micro_batches(count: int) -> list[np.ndarray]:
    """Parts of up to five images, whose gradients are added up."""
    return np.array_split(np.arange(count), -(-count // 5))


def one_by_one(count: int) -> list[np.ndarray]:
    """Every image by itself."""
    return list(np.arange(count)[:, None])


@dataclass(frozen=True)
class Way:
    """How a NumPy port computes."""

    arithmetic: type[Arithmetic] = Arithmetic
    convolver: type[Im2col] = Im2col
    batching: Batching = whole
    update: type[Update] = Update
    curves: Mapping[str, Curve] = field(default_factory=lambda: PLAIN)


class NumpyPort:
    """See `core_torch.parity.candidate.Candidate`."""

    def __init__(self, architecture: Architecture, recipe: Recipe, *, way: Way, dtype: str = "float32") -> None:
        self.recipe, self.way, self.dtype = recipe, way, np.dtype(dtype)
        arithmetic = way.arithmetic()
        convolver = way.convolver(arithmetic)
        self.network = NumpyNetwork(architecture, arithmetic=arithmetic, convolver=convolver, curves=way.curves)

    def load(self, weights: Arrays) -> None:
        """Set every weight; start the optimizer."""
        self.current = {name: np.array(value, self.dtype) for name, value in weights.items()}
        self.update = self.way.update(self.recipe)

    def weights(self) -> Arrays:
        """The current weights."""
        return dict(self.current)

    def activations(self, inputs: np.ndarray) -> Arrays:
        """Of every layer, the images as the batching orders them."""
        names = ["input", *(name for name, _ in self.network.layers)]
        parts = self.way.batching(len(inputs))
        found = [self.network.forward(self.current, inputs[rows]) for rows in parts]
        order = np.argsort(np.concatenate(parts))
        shown = {name: np.concatenate(values)[order] for name, values in zip(names, zip(*found))}
        return shown | {"input": inputs, "output": shown[names[-1]]}

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Of the parts, each weighted by its share of the images."""
        contraction = self.recipe.contraction if self.recipe.objective == "contractive" else 0.0
        total, gradients = self.dtype.type(0), {name: np.zeros_like(value) for name, value in self.current.items()}
        for rows in self.way.batching(len(inputs)):
            part = inputs[rows], targets[rows]
            loss, found = loss_and_gradients(self.network, self.current, *part, contraction=contraction)
            share = self.dtype.type(len(rows) / len(inputs))
            total += share * self.dtype.type(loss)
            gradients = {name: gradients[name] + share * value for name, value in found.items()}
        return float(total), gradients

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """One step; the loss before it."""
        loss, gradients = self.loss_and_gradients(inputs, targets)
        self.current = self.update.apply(self.current, gradients)
        return loss

    def set_learning_rate(self, learning_rate: float) -> None:
        """From the next step on."""
        self.update.set_rate(learning_rate)

    def optimizer_state(self) -> Arrays:
        """What the form of the optimizer shares with PyTorch's."""
        return self.update.shown()


def build_candidate(architecture: Architecture, recipe: Recipe, *, dtype: str = "float32") -> NumpyPort:
    """Plain NumPy, for a worker process."""
    return NumpyPort(architecture, recipe, way=Way(), dtype=dtype)
