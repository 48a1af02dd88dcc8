"""KerasCandidate: a Keras model on any of three backends, as a comparison asks it."""

from collections.abc import Callable, Mapping

import keras
import numpy as np
from keras import ops

from core_torch.parity.adapters.keras_matching import Matching
from core_torch.parity.candidate import Arrays
from core_torch.parity.recorded.trees import Tensors, Tree, cast_floats, flatten, map_leaves

Gradients = tuple[Tensors, list[Tensors]]  # the loss, and a gradient for each trained variable


class KerasCandidate:
    """See `core_torch.parity.candidate.Candidate`.

    Args:
        model: as Keras built it; its weights are replaced.
        loss: called as loss(targets, outputs), as Keras calls it, and averaged over all of its values.
        optimizer: a Keras optimizer; it is put back to its start whenever weights are loaded.
        matching: which layer is which; see `match`.
        to_keras: turns a batch of inputs into what the model takes, for instance channels last.
        to_targets: turns a batch of targets into what the loss takes.
        to_outputs: turns the model's outputs into the reference's layout.
        layers: {reference's layer name: Keras's layer name}, to show where a difference begins.
        compiled: by `jit_compile`, where the backend has it.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        loss: Callable[[Tensors, Tensors], Tensors],
        optimizer: keras.optimizers.Optimizer,
        matching: Matching,
        to_keras: Callable[[Tree], Tree] = lambda inputs: inputs,
        to_targets: Callable[[Tree], Tree] = lambda targets: targets,
        to_outputs: Callable[[Tensors], Tensors] = lambda outputs: outputs,
        layers: Mapping[str, str] | None = None,
        compiled: bool = False,
    ) -> None:
        self.model, self.loss, self.matching = model, loss, matching
        self.to_keras, self.to_targets, self.to_outputs = to_keras, to_targets, to_outputs
        model.compile(optimizer=optimizer, loss=self._mean_loss, jit_compile=compiled)
        self.optimizer = optimizer
        optimizer.build(model.trainable_variables)
        self.fresh = [np.array(ops.convert_to_numpy(variable)) for variable in optimizer.variables]
        self.shown = dict(layers or {})
        views = {name: model.get_layer(layer).output for name, layer in self.shown.items()}
        self.views = keras.Model(model.inputs, {"output": model.output} | views)

    def load(self, weights: Arrays) -> None:
        """Set every variable; put the optimizer back to its start."""
        self.matching.load(self.model, weights)
        for variable, value in zip(self.optimizer.variables, self.fresh, strict=True):
            variable.assign(value.copy())  # a copy: JAX may adopt the memory that it is given

    def weights(self) -> Arrays:
        """The current variables, in the reference's names and layout."""
        return self.matching.read({variable.path: _numpy(variable) for variable in self.model.variables})

    def activations(self, inputs: Tree) -> Arrays:
        """{"output", and the layers that are shown}, in evaluation mode."""
        found = dict(self.views(self._tensors(self.to_keras(inputs)), training=False))
        output = flatten(map_leaves(_numpy, self.to_outputs(found.pop("output"))), name="output")
        return output | {name: _channels_first(_numpy(value)) for name, value in found.items()}

    def loss_and_gradients(self, inputs: Tree, targets: Tree) -> tuple[float, Arrays]:
        """Loss and gradients by the backend's own differentiation; running statistics stay as they are."""
        before = [np.array(_numpy(variable)) for variable in self.model.non_trainable_variables]
        batch = self._tensors(self.to_keras(inputs)), self._tensors(self.to_targets(targets))
        loss, gradients = GRADIENTS[keras.backend.backend()](self, *batch)
        for variable, value in zip(self.model.non_trainable_variables, before, strict=True):
            variable.assign(value)
        named = {
            variable.path: _numpy(gradient)
            for variable, gradient in zip(self.model.trainable_variables, gradients, strict=True)
        }
        return float(loss), self.matching.read(named, gradients=True)

    def step(self, inputs: Tree, targets: Tree) -> float:
        """Take one step of `train_on_batch`; return the loss before it."""
        return float(self.model.train_on_batch(self.to_keras(inputs), self.to_targets(targets)))

    def set_learning_rate(self, learning_rate: float) -> None:
        """From the next step on."""
        self.optimizer.learning_rate = learning_rate

    def optimizer_state(self) -> Arrays:
        """Nothing: Keras keeps another form of it."""
        return {}

    def _mean_loss(self, targets: Tensors, outputs: Tensors) -> Tensors:
        return ops.mean(self.loss(targets, outputs))

    def _objective(self, inputs: Tensors, targets: Tensors) -> Tensors:
        return self._mean_loss(targets, self.model(inputs, training=True))

    def _tensors(self, tree: Tree) -> Tensors:
        return map_leaves(ops.convert_to_tensor, cast_floats(tree, keras.config.floatx()))


def _numpy(value: Tensors) -> np.ndarray:
    return np.array(ops.convert_to_numpy(value))


def _channels_first(array: np.ndarray) -> np.ndarray:
    """(N, H, W, C) -> (N, C, H, W)."""
    return np.moveaxis(array, -1, 1) if array.ndim == 4 else array


def _tensorflow_gradients(candidate: KerasCandidate, inputs: Tensors, targets: Tensors) -> Gradients:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = candidate._objective(inputs, targets)
    return loss, [ops.convert_to_tensor(part) for part in tape.gradient(loss, candidate.model.trainable_variables)]


def _torch_gradients(candidate: KerasCandidate, inputs: Tensors, targets: Tensors) -> Gradients:
    import torch

    loss = candidate._objective(inputs, targets)
    values = [variable.value for variable in candidate.model.trainable_variables]
    return loss, list(torch.autograd.grad(loss, values, materialize_grads=True))


def _jax_gradients(candidate: KerasCandidate, inputs: Tensors, targets: Tensors) -> Gradients:
    import jax

    model = candidate.model
    others = [variable.value for variable in model.non_trainable_variables]

    def objective(trainable: list[Tensors]) -> Tensors:
        outputs, _ = model.stateless_call(trainable, others, inputs, training=True)
        return candidate._mean_loss(targets, outputs)

    return jax.value_and_grad(objective)([variable.value for variable in model.trainable_variables])


GRADIENTS: dict[str, Callable[[KerasCandidate, Tensors, Tensors], Gradients]] = {
    "tensorflow": _tensorflow_gradients,
    "torch": _torch_gradients,
    "jax": _jax_gradients,
}
