"""Training with the whole split on the device: each minibatch is gathered there by index, and nothing comes
back to the host before the epoch ends. One class per backend, with the same methods.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_impl.contractive import ContractiveAutoencoder
from keras_impl.tensors import Tensor

Values = list[Tensor]  # of variables, in the order of the model's
State = tuple[Values, ...]  # of a JAX model: trainable variables, others, the optimizer's


def objective(model: keras.Model, inputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of a training step: the mean squared error over images and pixels, and a contractive model's penalty."""
    errors = ops.mean(ops.square(model(inputs, training=True) - targets), axis=1)
    error = ops.mean(errors)  # as in Keras's own: XLA on a CPU sums one number after another, and loses digits
    return error + model.penalty(inputs) if isinstance(model, ContractiveAutoencoder) else error


class ResidentLoop:
    """What the backends share. Tensors are (N, pixels); the loss is the `objective`.

    Args:
        model: compiled; its optimizer and its `jit_compile` are used.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model, self.optimizer, self.variables = model, model.optimizer, model.trainable_variables
        if not self.optimizer.built:
            self.optimizer.build(self.variables)

    def epoch(self, images: Tensor, batches: Iterable[np.ndarray]) -> float:
        """Train on images[batch], as inputs and targets, for every batch; the loss averaged over images.

        Args:
            images: a tensor on the device.
            batches: index batches, all of one length but the last, so that two shapes at most are compiled.
        """
        *full, last = batches
        total = self._steps(images, np.stack(full)) * len(full[0]) if full else 0.0
        total += self._steps(images, last[None]) * len(last)
        return float(total) / (sum(map(len, full)) + len(last))

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One optimizer step; the loss before it."""
        raise NotImplementedError

    def _steps(self, images: Tensor, batches: np.ndarray) -> Tensor:
        """One step for each row of batches (steps, batch size); the sum of their losses, on the device."""
        raise NotImplementedError

    def loss_and_gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """The loss and its gradient for each of `model.trainable_variables`, which stay as they are."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Return once the device has finished every step."""
        raise NotImplementedError


class TensorFlowLoop(ResidentLoop):
    """A `tf.function` whose while-loop runs over the batches."""

    def __init__(self, model: keras.Model) -> None:
        import tensorflow as tf

        super().__init__(model)
        self.tf = tf
        self.compiled_step = tf.function(self._step, jit_compile=model.jit_compile)
        self.compiled_steps = tf.function(self._fold, jit_compile=model.jit_compile)

    def loss_and_gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """By `GradientTape`."""
        with self.tf.GradientTape() as tape:
            loss = objective(self.model, inputs, targets)
        return loss, tape.gradient(loss, self.variables)

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One call of the compiled step."""
        return self.compiled_step(inputs, targets)

    def _step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        loss, gradients = self.loss_and_gradients(inputs, targets)
        self.optimizer.apply(gradients, self.variables)
        return loss

    def _fold(self, images: Tensor, batches: Tensor) -> Tensor:
        def add_step(total: Tensor, batch: Tensor) -> Tensor:
            rows = self.tf.gather(images, batch)
            return total + self._step(rows, rows)

        start = self.tf.zeros((), images.dtype)
        return self.tf.foldl(add_step, batches, initializer=start, parallel_iterations=1)

    def _steps(self, images: Tensor, batches: np.ndarray) -> Tensor:
        return self.compiled_steps(images, self.tf.constant(batches))

    def synchronize(self) -> None:
        """By reading a weight, which waits for its last update."""
        self.variables[-1].numpy()


class JaxLoop(ResidentLoop):
    """A jitted `lax.scan` over the batches; the variables are read before it and set after it."""

    def __init__(self, model: keras.Model) -> None:
        import jax

        super().__init__(model)
        self.jax = jax
        self.groups = (self.variables, model.non_trainable_variables, self.optimizer.variables)
        # XLA's convolutions on a CPU are 2 to 4 times slower inside a scan: there, every step is a call.
        convolves = any(len(variable.shape) == 4 for variable in self.variables)
        self.scans = jax.default_backend() != "cpu" or not convolves
        self.differentiate = jax.value_and_grad(self._loss, has_aux=True)
        self.compiled_gradients = jax.jit(self.differentiate)
        self.compiled_step = jax.jit(self._advance)
        self.compiled_scan = jax.jit(self._scan)

    def loss_and_gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """By `jax.value_and_grad`, the variables' values standing in for them."""
        trainable, others, _ = self._state()
        (loss, _), gradients = self.compiled_gradients(trainable, others, inputs, targets)
        return loss, gradients

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One call of the compiled step."""
        state, loss = self.compiled_step(self._state(), inputs, targets)
        self._set(state)
        return loss

    def _loss(self, trainable: Values, others: Values, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Values]:
        variables, other_variables, _ = self.groups
        with keras.StatelessScope([*zip(variables, trainable), *zip(other_variables, others)]) as scope:
            loss = objective(self.model, inputs, targets)
        return loss, [scope.get_current_value(variable) for variable in other_variables]

    def _advance(self, state: State, inputs: Tensor, targets: Tensor) -> tuple[State, Tensor]:
        trainable, others, slots = state
        (loss, others), gradients = self.differentiate(trainable, others, inputs, targets)
        trainable, slots = self.optimizer.stateless_apply(slots, gradients, trainable)
        return (trainable, others, slots), loss

    def _gather(self, images: Any, batch: Any) -> Any:
        return self.jax.numpy.take(images, batch, axis=0, mode="clip")

    def _scan(self, state: State, images: Tensor, batches: Tensor) -> tuple[State, Tensor]:
        def advance(held: State, batch: Tensor) -> tuple[State, Tensor]:
            rows = self._gather(images, batch)
            return self._advance(held, rows, rows)

        losses: Any
        state, losses = self.jax.lax.scan(advance, state, batches)
        return state, losses.sum()

    def _steps(self, images: Tensor, batches: np.ndarray) -> Tensor:
        total: Any = 0.0
        state, indices = self._state(), self.jax.numpy.asarray(batches, "int32")
        if self.scans:
            state, total = self.compiled_scan(state, images, indices)
        else:
            for batch in indices:
                rows = self._gather(images, batch)
                state, loss = self.compiled_step(state, rows, rows)
                total += loss
        self._set(state)
        return total

    def _state(self) -> State:
        return tuple([variable.value for variable in group] for group in self.groups)

    def _set(self, state: State) -> None:
        for group, values in zip(self.groups, state):
            for variable, value in zip(group, values):
                variable.assign(value)

    def synchronize(self) -> None:
        """By `block_until_ready`."""
        self.jax.block_until_ready(self._state())


class TorchLoop(ResidentLoop):
    """A Python loop: eager, as Keras is on torch by default; `jit_compile=True` compiles the forward pass."""

    def __init__(self, model: keras.Model) -> None:
        import torch

        super().__init__(model)
        self.torch = torch
        self.objective = torch.compile(objective) if model.jit_compile else objective

    def loss_and_gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """By `torch.autograd.grad`."""
        loss: Any = self.objective(self.model, inputs, targets)
        gradients: Any = self.torch.autograd.grad(loss, [variable.value for variable in self.variables])
        return loss.detach(), gradients

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Gradients, then the Keras optimizer."""
        loss, gradients = self.loss_and_gradients(inputs, targets)
        with self.torch.no_grad():
            self.optimizer.apply(gradients, self.variables)
        return loss

    def _steps(self, images: Any, batches: np.ndarray) -> Tensor:
        total: Any = 0.0
        for batch in self.torch.from_numpy(batches).to(images.device):
            rows = images.index_select(0, batch)
            total += self.step(rows, rows)
        return total

    def synchronize(self) -> None:
        """By `torch.cuda.synchronize` where there is a GPU; on a CPU torch is never behind."""
        if self.torch.cuda.is_available():
            self.torch.cuda.synchronize()


LOOPS = {"tensorflow": TensorFlowLoop, "jax": JaxLoop, "torch": TorchLoop}


def resident_loop(model: keras.Model) -> ResidentLoop:
    """The loop of the backend Keras runs on."""
    return LOOPS[keras.backend.backend()](model)
