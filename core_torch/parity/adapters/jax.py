"""JaxCandidate: pure functions of JAX, their loss and an optimizer in optax's form, as a comparison asks them."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from core_torch.parity.candidate import Arrays
from core_torch.parity.recorded.trees import Tensors, Tree, flatten, map_leaves

Params = Any  # any tree of arrays
Function = Callable[..., Tensors]


class GradientTransformation(Protocol):
    """What an optax optimizer has."""

    def init(self, params: Params) -> Params:
        """The state at the start."""

    def update(self, updates: Params, state: Params, params: Params) -> tuple[Params, Params]:
        """(what to add to the parameters, the next state)."""


class JaxCandidate:
    """See `core_torch.parity.candidate.Candidate`.

    Args:
        apply: (parameters, state, inputs, is_training) -> (outputs, new state, {layer name: its output}); the state
            holds running statistics and may be empty.
        loss: (outputs, targets) -> a scalar.
        optimizer: has optax's `init` and `update`.
        from_reference: {name: array} -> (parameters, state), any trees.
        to_reference: (parameters, state) -> {name: array}; also called with gradients in place of parameters.
        compiled: by `jax.jit`.
    """

    def __init__(
        self,
        apply: Callable[[Params, Params, Tensors, bool], tuple[Tensors, Params, Mapping[str, Tensors]]],
        *,
        loss: Callable[[Tensors, Tensors], Tensors],
        optimizer: GradientTransformation,
        from_reference: Callable[[Arrays], tuple[Params, Params]],
        to_reference: Callable[[Params, Params], Arrays],
        compiled: bool = True,
    ) -> None:
        self.optimizer, self.from_reference, self.to_reference = optimizer, from_reference, to_reference

        def evaluate(params: Params, state: Params, inputs: Tensors) -> tuple[Tensors, Mapping[str, Tensors]]:
            outputs, _, layers = apply(params, state, inputs, False)
            return outputs, layers

        def objective(params: Params, state: Params, inputs: Tensors, targets: Tensors) -> tuple[Tensors, Params]:
            outputs, new_state, _ = apply(params, state, inputs, True)
            return loss(outputs, targets), new_state

        def step(
            params: Params, state: Params, memory: Params, inputs: Tensors, targets: Tensors
        ) -> tuple[Params, ...]:
            (value, new_state), gradients = jax.value_and_grad(objective, has_aux=True)(params, state, inputs, targets)
            updates, memory = optimizer.update(gradients, memory, params)
            return value, jax.tree.map(lambda old, change: old + change, params, updates), new_state, memory

        compile_function: Callable[[Function], Function] = jax.jit if compiled else lambda function: function
        self._evaluate = compile_function(evaluate)
        self._gradients = compile_function(jax.value_and_grad(objective, has_aux=True))
        self._step = compile_function(step)

    def load(self, weights: Arrays) -> None:
        """Set parameters and state; put the optimizer back to its start."""
        self.params, self.state = jax.tree.map(jax.numpy.asarray, self.from_reference(weights))
        self.memory = self.optimizer.init(self.params)
        self.buffers = self._buffers()

    def weights(self) -> Arrays:
        """The current parameters and state, in the reference's names."""
        return _to_numpy(self.to_reference(self.params, self.state))

    def activations(self, inputs: Tree) -> Arrays:
        """{"output", and the layers that `apply` shows}, in evaluation mode."""
        outputs, layers = self._evaluate(self.params, self.state, inputs)
        found = flatten(map_leaves(np.asarray, outputs), name="output")
        return _to_numpy(dict(layers)) | found

    def loss_and_gradients(self, inputs: Tree, targets: Tree) -> tuple[float, Arrays]:
        """Loss and gradients, by JAX's differentiation."""
        (value, _), gradients = self._gradients(self.params, self.state, inputs, targets)
        named = self.to_reference(gradients, self.state)
        return float(value), _to_numpy({name: array for name, array in named.items() if name not in self.buffers})

    def _buffers(self) -> set[str]:
        """Names that stand for the state: those whose value does not depend on the parameters."""
        zeros, ones = (self.to_reference(jax.tree.map(make, self.params), self.state) for make in (_zeros, _ones))
        return {name for name in zeros if np.array_equal(zeros[name], ones[name])}

    def step(self, inputs: Tree, targets: Tree) -> float:
        """Take one optimizer step; return the loss before it."""
        stepped = self._step(self.params, self.state, self.memory, inputs, targets)
        value, self.params, self.state, self.memory = stepped
        return float(value)

    def set_learning_rate(self, learning_rate: float) -> None:
        """Refuse: a rate is inside an optax optimizer."""
        raise NotImplementedError("a schedule belongs into the optax optimizer")

    def optimizer_state(self) -> Arrays:
        """{"momentum/NAME", "first_moment/NAME", "second_moment/NAME"}, where the state has optax's attributes."""
        found: Arrays = {}
        for part in jax.tree.leaves(self.memory, is_leaf=lambda node: hasattr(node, "_fields")):
            for attribute, kind in (("trace", "momentum"), ("mu", "first_moment"), ("nu", "second_moment")):
                if hasattr(part, attribute):
                    named = self.to_reference(getattr(part, attribute), self.state)
                    found |= {f"{kind}/{name}": value for name, value in named.items() if name not in self.buffers}
        return _to_numpy(found)


def _zeros(array: Tensors) -> Tensors:
    return jax.numpy.zeros_like(array)


def _ones(array: Tensors) -> Tensors:
    return jax.numpy.ones_like(array)


def _to_numpy(arrays: Mapping[str, Tensors]) -> Arrays:
    return {name: np.array(value) for name, value in arrays.items()}
