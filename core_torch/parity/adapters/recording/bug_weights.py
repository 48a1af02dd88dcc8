"""Weights that are read in a wrong layout: transposed, permuted, gates or parts in another order."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from torch import nn

from core_torch.parity.adapters.recording.setup import Build, Setup
from core_torch.parity.adapters.torch import TorchCandidate
from core_torch.parity.candidate import Arrays
from core_torch.parity.recorded.trees import Tree

Turn = Callable[[np.ndarray], np.ndarray]
Turns = Mapping[str, tuple[Turn, Turn]]  # {parameter: (as the port reads it, back)}
MOST_SINGLE_TENSORS = 24  # square weights that are tried one by one

LSTM_ORDERS = {"input, cell, forget, output": (0, 2, 1, 3), "forget, input, cell, output": (1, 0, 2, 3)}
GRU_ORDERS = {"update, reset, new, which is Keras's": (1, 0, 2)}
ATTENTION_ORDERS = {"key, query, value": (1, 0, 2), "value, key, query": (2, 1, 0), "query, value, key": (0, 2, 1)}


class TurnedWeights(TorchCandidate[nn.Module]):
    """Reads some weights in another layout, and hands them back in the layout in which they came."""

    turns: Turns = {}

    def load(self, weights: Arrays) -> None:
        """Set the turned weights."""
        super().load(weights | {name: turn(weights[name]) for name, (turn, _) in self.turns.items()})

    def weights(self) -> Arrays:
        """The weights, turned back."""
        return self._turned_back(super().weights())

    def loss_and_gradients(self, inputs: Tree, targets: Tree) -> tuple[float, Arrays]:
        """Gradients, turned back."""
        loss, gradients = super().loss_and_gradients(inputs, targets)
        return loss, self._turned_back(gradients)

    def optimizer_state(self) -> Arrays:
        """State, turned back."""
        found = super().optimizer_state()
        kinds = {name.partition("/")[0] for name in found}
        back = {f"{kind}/{name}": turn for kind in kinds for name, (_, turn) in self.turns.items()}
        return {name: back[name](value) if name in back else value for name, value in found.items()}

    def _turned_back(self, arrays: Arrays) -> Arrays:
        return {
            name: np.ascontiguousarray(self.turns[name][1](value)) if name in self.turns else value
            for name, value in arrays.items()
        }


def _turned(setup: Setup, turns: Turns) -> Build:
    def build(dtype: str) -> TurnedWeights:
        candidate = setup.candidate(dtype, kind=TurnedWeights)
        candidate.turns = turns
        return candidate

    return build


def transposed_bugs(setup: Setup) -> Iterator[tuple[str, Build]]:
    """Square weights that are read transposed, all of them and one by one."""
    square: Turns = {
        name: (_transpose, _transpose)
        for name, parameter in setup.model.named_parameters()
        if parameter.ndim == 2 and parameter.shape[0] == parameter.shape[1]
    }
    kernels: Turns = {
        name: (_swap_sides, _swap_sides)
        for name, parameter in setup.model.named_parameters()
        if parameter.ndim == 4 and parameter.shape[2] == parameter.shape[3] > 1
    }
    if kernels:
        yield "kernels with height and width exchanged", _turned(setup, kernels)
    if len(square) > 1:
        yield "every square weight transposed", _turned(setup, square)
    for name, turns in list(square.items())[:MOST_SINGLE_TENSORS]:
        yield f"{name} transposed", _turned(setup, {name: turns})


def _transpose(weight: np.ndarray) -> np.ndarray:
    return weight.T


def _swap_sides(kernel: np.ndarray) -> np.ndarray:
    return kernel.swapaxes(2, 3)


def order_bugs(setup: Setup) -> Iterator[tuple[str, Build]]:
    """Gates of recurrent layers, and projections of attention, in another order."""
    kinds: list[tuple[type[nn.Module], str, Mapping[str, tuple[int, ...]]]] = [
        (nn.LSTM, "gates of the LSTM in the order", LSTM_ORDERS),
        (nn.GRU, "gates of the GRU in the order", GRU_ORDERS),
        (nn.MultiheadAttention, "projections of attention in the order", ATTENTION_ORDERS),
    ]
    for kind, text, orders in kinds:
        names = [
            f"{prefix}.{name}" if prefix else name
            for prefix, layer in setup.model.named_modules()
            if isinstance(layer, kind)
            for name, parameter in layer.named_parameters(recurse=False)
        ]
        for order_text, order in orders.items() if names else ():
            turns = {name: (_reorder(order), _reorder(tuple(np.argsort(order)))) for name in names}
            yield f"{text} {order_text}", _turned(setup, turns)


def _reorder(order: tuple[int, ...]) -> Turn:
    def turn(packed: np.ndarray) -> np.ndarray:
        parts = np.split(packed, len(order))
        return np.concatenate([parts[index] for index in order])

    return turn


WEIGHT_BUGS = (transposed_bugs, order_bugs)
