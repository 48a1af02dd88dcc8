"""The learning rate over the steps of a run."""

import math
from typing import Any

import keras
from keras import ops

# PyTorch's defaults: where the peak lies, as a share of the steps; peak / start; start / end.
RISING_SHARE, PEAK_TO_START, START_TO_END = 0.3, 25, 1e4


@keras.saving.register_keras_serializable("keras_impl")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """One cycle over `steps` >= 2 steps, up to `peak` and down again along cosines (Smith and Topin 2019).

    Step for step PyTorch's OneCycleLR without its cycle of the momentum.
    """

    def __init__(self, peak: float, steps: int) -> None:
        self.peak, self.steps = float(peak), steps

    def __call__(self, step: Any) -> Any:
        """The rate of that step, from 0."""
        step, start = ops.cast(step, keras.config.floatx()), self.peak / PEAK_TO_START
        top, last = RISING_SHARE * self.steps - 1, self.steps - 1
        rising = _cosine(start, self.peak, (top - step) / top)
        falling = _cosine(self.peak, start / START_TO_END, (last - step) / (last - top))
        return ops.where(step <= top, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """For serialization."""
        return {"peak": self.peak, "steps": self.steps}


def _cosine(start: float, end: float, left: Any) -> Any:
    """From `start`, where the whole of a phase is left, 1, to `end`, where 0 is; no digits are lost at either."""
    angle = math.pi / 2 * left
    return start * ops.square(ops.sin(angle)) + end * ops.square(ops.cos(angle))
