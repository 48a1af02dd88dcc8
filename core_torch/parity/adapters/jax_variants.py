"""Right ports in JAX: pure functions, with and without compilation, and image by image."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from core_torch.parity.candidate import Arrays
from core_torch.spec.architecture import Architecture, FullyConnected
from core_torch.spec.errors import check_choice
from core_torch.spec.layers import (
    Activation,
    Convolution,
    Dense,
    Layer,
    MaxPooling,
    TransposedConvolution,
    Unflatten,
)
from core_torch.spec.recipe import ADAM_BETAS, Recipe

VARIANTS = ("jit", "no jit", "gradient of each image")
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
    "linear": lambda z: z,
}
Weights = dict[str, Any]


def apply_layer(layer: Layer, x: Any, weight: Any, bias: Any) -> Any:
    """A layer of the spec."""
    match layer:
        case Dense():
            return x @ weight.T if bias is None else x @ weight.T + bias
        case Activation(name):
            return ACTIVATIONS[name](x)
        case Convolution():
            found = lax.conv_general_dilated(x, weight, (layer.stride, layer.stride), [layer.padding] * 2)
            return found + bias[:, None, None]
        case TransposedConvolution():
            turned = jnp.flip(weight, (2, 3)).transpose(1, 0, 2, 3)
            border = [(layer.kernel - 1 - layer.crop[0], layer.kernel - 1 - layer.crop[1])] * 2
            spread = (layer.stride, layer.stride)
            return lax.conv_general_dilated(x, turned, (1, 1), border, lhs_dilation=spread) + bias[:, None, None]
        case MaxPooling(size):
            window = (1, 1, size, size)
            return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
        case Unflatten(channels, side):
            return x.reshape(len(x), channels, side, side)
        case _:
            return x.reshape(len(x), -1)


class JaxCandidate:
    """See `core_torch.parity.candidate.Candidate`."""

    def __init__(self, architecture: Architecture, recipe: Recipe, *, dtype: str, variant: str) -> None:
        jax.config.update("jax_enable_x64", dtype == "float64")
        self.architecture, self.recipe, self.kind = architecture, recipe, jnp.dtype(dtype)
        self.parts = {"encoder": architecture.encoder_layers(), "decoder": architecture.decoder_layers()}
        compiled = (lambda function: function) if variant == "no jit" else jax.jit
        differentiate = self.mean_of_images if variant == "gradient of each image" else jax.value_and_grad(self.loss)
        self.outputs = compiled(self.forward)
        self.derivatives = compiled(differentiate)
        self.update = compiled(partial(self.descend, differentiate))

    def load(self, weights: Arrays) -> None:
        """Set every weight; start the optimizer."""
        self.current = {name: jnp.array(value, self.kind) for name, value in weights.items()}
        kinds = ("momentum",) if self.recipe.optimizer == "sgd" else ("first_moment", "second_moment")
        self.state = {kind: {name: jnp.zeros_like(value) for name, value in self.current.items()} for kind in kinds}
        self.steps, self.rate = 0, self.recipe.learning_rate

    def weights(self) -> Arrays:
        """The current weights."""
        return to_numpy(self.current)

    def activations(self, inputs: np.ndarray) -> Arrays:
        """The output."""
        return {"output": np.asarray(self.outputs(self.current, jnp.array(inputs, self.kind)))}

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """By `value_and_grad`."""
        loss, gradients = self.derivatives(self.current, jnp.array(inputs, self.kind), jnp.array(targets, self.kind))
        return float(loss), to_numpy(gradients)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """One step; the loss before it."""
        self.steps += 1
        batch = jnp.array(inputs, self.kind), jnp.array(targets, self.kind)
        shares = [jnp.array(1 - beta**self.steps, self.kind) for beta in ADAM_BETAS]
        rate = jnp.array(self.rate, self.kind)
        loss, self.current, self.state = self.update(self.current, self.state, batch, rate, shares)
        return float(loss)

    def set_learning_rate(self, learning_rate: float) -> None:
        """From the next step on."""
        self.rate = learning_rate

    def optimizer_state(self) -> Arrays:
        """In PyTorch's names; SGD without momentum has none."""
        if self.recipe.optimizer == "sgd" and not self.recipe.momentum:
            return {}
        return {f"{kind}/{name}": value for kind, each in self.state.items() for name, value in to_numpy(each).items()}

    def run(self, part: str, weights: Weights, x: Any) -> Any:
        """The encoder or the decoder."""
        for index, layer in enumerate(self.parts[part]):
            name = f"{part}.{index}"
            x = apply_layer(layer, x, self.weight_of(name, weights), weights.get(f"{name}.bias"))
        return x

    def weight_of(self, name: str, weights: Weights) -> Any:
        """A layer's weight; a tied decoder's is the encoder's, transposed."""
        part, _, index = name.partition(".")
        is_tied = isinstance(self.architecture, FullyConnected) and self.architecture.tied
        if is_tied and part == "decoder" and int(index) % 2 == 0:
            return weights[f"encoder.{len(self.parts['encoder']) - 2 - int(index)}.weight"].T
        return weights.get(f"{name}.weight")

    def encode(self, weights: Weights, x: Any) -> Any:
        """(N, pixels) -> (N, code width)."""
        return self.run("encoder", weights, x.reshape(len(x), *self.architecture.input_shape))

    def forward(self, weights: Weights, x: Any) -> Any:
        """(N, pixels) -> (N, pixels)."""
        return self.run("decoder", weights, self.encode(weights, x))

    def loss(self, weights: Weights, inputs: Any, targets: Any) -> Any:
        """The objective."""
        error = jnp.mean((self.forward(weights, inputs) - targets) ** 2)
        if self.recipe.objective != "contractive":
            return error
        jacobian = jax.vmap(jax.jacrev(lambda image: self.encode(weights, image[None])[0]))(inputs)
        return error + self.recipe.contraction * jnp.sum(jacobian**2) / len(inputs)

    def mean_of_images(self, weights: Weights, inputs: Any, targets: Any) -> tuple[Any, Weights]:
        """Loss and gradients of each image, then their means."""
        one = jax.vmap(jax.value_and_grad(self.loss), in_axes=(None, 0, 0))
        losses, gradients = one(weights, inputs[:, None], targets[:, None])
        return losses.mean(), {name: gradient.mean(0) for name, gradient in gradients.items()}

    def descend(
        self, differentiate: Callable[..., Any], weights: Weights, state: Weights, batch: Any, rate: Any, shares: Any
    ) -> tuple[Any, Weights, Weights]:
        """(loss, weights, state) after a step of the recipe's optimizer."""
        loss, gradients = differentiate(weights, *batch)
        recipe, moved, kept = self.recipe, {}, {kind: dict(values) for kind, values in state.items()}
        for name, gradient in gradients.items():
            if recipe.optimizer == "sgd":
                velocity = kept["momentum"][name] = recipe.momentum * state["momentum"][name] + gradient
                direction = recipe.momentum * velocity + gradient if recipe.nesterov else velocity
            else:
                for kind, value, beta in zip(kept, (gradient, gradient**2), ADAM_BETAS):
                    kept[kind][name] = beta * state[kind][name] + (1 - beta) * value
                first, second = (kept[kind][name] / share for kind, share in zip(kept, shares))
                direction = first / (jnp.sqrt(second) + recipe.epsilon)
            decayed = weights[name] * (1 - rate * recipe.weight_decay)
            moved[name] = decayed - rate * direction
        return loss, moved, kept


def to_numpy(arrays: Weights) -> Arrays:
    """Copies."""
    return {name: np.array(value) for name, value in arrays.items()}


def build_candidate(
    architecture: Architecture, recipe: Recipe, *, dtype: str = "float32", variant: str = "jit"
) -> JaxCandidate:
    """A right port, as the variant computes it."""
    check_choice("variant", variant, VARIANTS)
    return JaxCandidate(architecture, recipe, dtype=dtype, variant=variant)
