"""The recipe's optimizers, step for step as their papers and PyTorch have them."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from core_torch.spec.recipe import ADAM_BETAS, Recipe
from keras_impl.schedule import OneCycle


def build_optimizer(recipe: Recipe, *, steps: int = 1) -> keras.optimizers.Optimizer:
    """Keras's SGD, with momentum or Nesterov's; or `Adam`, with AdamW's weight decay.

    Args:
        steps: of the whole run, which one cycle spans; of a single step there is no cycle.
    """
    cycles = recipe.schedule == "one-cycle" and steps > 1
    rate = OneCycle(recipe.learning_rate, steps) if cycles else float(recipe.learning_rate)
    if recipe.optimizer == "sgd":
        # Keras on TensorFlow rounds a Python float to float32 even where the weights are float64.
        return keras.optimizers.SGD(rate, momentum=np.float64(recipe.momentum), nesterov=recipe.nesterov)
    return Adam(rate, *ADAM_BETAS, epsilon=recipe.epsilon, weight_decay=recipe.weight_decay or None)


@keras.saving.register_keras_serializable("keras_impl")
class Adam(keras.optimizers.Adam):
    """w <- w - rate (weight_decay w + m^ / (sqrt(v^) + epsilon)), where m^ and v^ are corrected for their start.

    Kingma and Ba 2015, algorithm 1; decoupled decay of all weights: Loshchilov and Hutter 2019. Keras's own adds
    epsilon before the correction, and loses digits of 1 - 0.999^t in float32.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's step."""
        index = self._get_variable_index(variable)
        first, second = self._momentums[index], self._velocities[index]
        self.assign_add(first, (gradient - first) * (1 - self.beta_1))
        self.assign_add(second, (gradient * gradient - second) * (1 - self.beta_2))
        step = ops.cast(self.iterations + 1, variable.dtype)
        first_share, second_share = (-ops.expm1(step * math.log(beta)) for beta in (self.beta_1, self.beta_2))
        direction = first / first_share / (ops.sqrt(second / second_share) + self.epsilon)
        if self.weight_decay:
            direction = direction + self.weight_decay * variable
        self.assign_sub(variable, learning_rate * direction)

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: it is part of `update_step`."""


def set_learning_rate(optimizer: keras.optimizers.Optimizer, learning_rate: float) -> None:
    """From the next step on.

    The velocity that Keras's SGD keeps is -rate times the recipe's. It is rescaled with the rate, or else the steps
    taken so far would go on at the old one.
    """
    if isinstance(optimizer, keras.optimizers.SGD):
        change = learning_rate / _rate(optimizer)
        for velocity in optimizer.momentums:
            velocity.assign(velocity * change)
    optimizer.learning_rate = learning_rate


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> dict[str, list[np.ndarray]]:
    """{kind: one array for each weight}, as PyTorch would hold it: "momentum", or "first_moment", "second_moment"."""
    if isinstance(optimizer, keras.optimizers.SGD):
        velocities = [ops.convert_to_numpy(velocity) / -_rate(optimizer) for velocity in optimizer.momentums]
        return {"momentum": velocities} if velocities else {}
    moments = {"first_moment": optimizer._momentums, "second_moment": optimizer._velocities}
    return {kind: [ops.convert_to_numpy(value) for value in values] for kind, values in moments.items()}


def _rate(optimizer: keras.optimizers.Optimizer) -> float:
    return float(ops.convert_to_numpy(optimizer.learning_rate))
