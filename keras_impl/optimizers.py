"""The recipe's optimizers and their learning rates, step for step as their papers and PyTorch have them."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from core_torch.spec.recipe import ADAM_BETAS, Recipe
from keras_impl.tensors import Tensor

# PyTorch's defaults: where the peak lies, as a share of the steps; peak / start; start / end.
RISING_SHARE, PEAK_TO_START, START_TO_END = 0.3, 25, 1e4


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

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
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

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
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


@keras.saving.register_keras_serializable("keras_impl")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """One cycle over `steps` >= 2 steps, up to `peak` and down again along cosines (Smith and Topin 2019).

    Step for step PyTorch's OneCycleLR without its cycle of the momentum.
    """

    def __init__(self, peak: float, steps: int) -> None:
        self.peak, self.steps = float(peak), steps

    def __call__(self, step: Tensor) -> Tensor:
        """The rate of that step, from 0."""
        step, start = ops.cast(step, keras.config.floatx()), self.peak / PEAK_TO_START
        top, last = RISING_SHARE * self.steps - 1, self.steps - 1
        rising = _cosine(start, self.peak, left=(top - step) / top)
        falling = _cosine(self.peak, start / START_TO_END, left=(last - step) / (last - top))
        return ops.where(step <= top, rising, falling)

    def get_config(self) -> dict[str, float]:
        """For serialization."""
        return {"peak": self.peak, "steps": self.steps}


def _cosine(start: float, end: float, *, left: Tensor) -> Tensor:
    """From `start`, where the whole of a phase is left, 1, to `end`, where 0 is; no digits are lost at either."""
    angle = math.pi / 2 * left
    return start * ops.square(ops.sin(angle)) + end * ops.square(ops.cos(angle))
