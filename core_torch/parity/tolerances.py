"""How far apart two implementations may be, and why. Every tolerance of the repository's agreement is here.

A tolerance is FACTOR times the distance of a float32 NumPy run from the float64 oracle on the same problem: what
rounding alone does to this computation. It is never below FLOOR, a few float32 roundings, because one run can be
lucky, and never above the level's ceiling, beyond which a budget would be excusing an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Another order of summation, fused multiply-add or another exp moves a result by a small multiple of the same
# rounding error: 0.3 to 3 times it was seen over five frameworks; 10 times in the convolutions of oneDNN and XLA on a
# CPU, which add up 25,000 positions one after the other where NumPy's matrix product adds blocks.
FACTOR = 16.0
FLOOR_ROUNDINGS = 8
WELL_POSED = 1.25  # a budget has to stay below a ceiling by this factor, or the problem is not posed
ROUNDING = {name: float(np.finfo(name).eps) / 2 for name in ("float32", "float64")}  # relative error of one operation


@dataclass(frozen=True)
class Level:
    """One rung: what is compared, in what measure, and the ceiling of its tolerance."""

    name: str
    measure: str
    ceiling: float


LEVELS = (
    Level("shapes", "parameters missing, extra, misshapen or not as loaded", 0.0),
    # Division by 255 and multiplication by 1/255 differ in the last bit of 126 of the 256 grey levels.
    Level("inputs", "values that reach the model altered", 0.0),
    # Per image, so that one wrong image among many is found. A single pixel of a trained deep model, its logit a sum of
    # large terms, is 1.2e-6 off by rounding alone.
    Level("outputs", "relative L2 distance of the worst image", 1e-6),
    Level("loss", "relative difference", 1e-5),
    # Per tensor, because 1e-5 absolute says nothing of gradients that are 1e-5 themselves.
    Level("gradients", "relative L2 distance of the worst tensor", 1e-5),
    # At exact zeros and ties, near zero and far from it: a wrong rule for any of them shows whole, not by a little.
    Level("edges", "relative L2 distance of the worst image or tensor at weights made for it", 1e-3),
    # An update, not a weight: a weight hardly moves in ten steps, so it agrees whatever the learning rate.
    # Over all tensors together, because where a tensor moves by less than its weights' rounding there is nothing
    # to compare: a float32 weight near 0.03 is stored to 2e-9. Hence also the wider ceiling after one step.
    Level("one update", "relative L2 distance of the change of all weights", 1e-3),
    Level("trajectory", "relative L2 distance of the change of all weights, or of a kind of optimizer state", 1e-4),
    Level("losses", "relative difference of the worst step", 1e-5),
    Level("outputs after training", "relative L2 distance of the worst image", 1e-4),
)
LEVEL_NAMES = tuple(level.name for level in LEVELS)


def tolerances(budget: Mapping[str, float], *, dtype: str = "float32") -> dict[str, float]:
    """{level: the largest difference that passes}, given the float32 run's own distances from the oracle.

    Rounding errors are proportional to the precision, so float64 is allowed 2^-29 of what float32 is.
    """
    share = ROUNDING[dtype] / ROUNDING["float32"]
    floor = FLOOR_ROUNDINGS * ROUNDING[dtype]
    return {
        level.name: min(level.ceiling, max(floor, FACTOR * budget[level.name] * share)) if level.ceiling else 0.0
        for level in LEVELS
    }


# A whole epoch is tens of steps of 512 images; errors grow with the steps, and jump where a unit's sign flips.
EPOCH = Level("one epoch", "relative L2 distance of the change of all weights", 1e-2)
# Lightning runs the reference's own module on the same batches, so on a CPU nothing may differ.
BITWISE = Level("one epoch, bit for bit", "weights that differ from core_torch's", 0.0)
# A route at its defaults shuffles by itself, so only the error it reaches can be compared. Between shuffles the shallow
# model's differed by 0.1 % with batches of 512, where a learning rate wrong by a fifth moves it by 1.3 %, and by 1 %
# with batches of 32; the deep model leaves its plateau sooner or later, so that tails are long.
OWN_SHUFFLE = Level("one epoch, own shuffle", "relative difference of the error reached", 0.05)
SHUFFLE_FLOOR, SHUFFLE_FACTOR = 0.01, 4.0
# Every image exactly once, equal bit for bit, in another order than stored.
SAME_IMAGES = Level("same images, shuffled", "images missing, repeated or altered", 0.0)


def shuffle_tolerance(spread: float) -> float:
    """Of the error after an epoch in one's own order, from the largest difference that some other orders make."""
    return min(OWN_SHUFFLE.ceiling, max(SHUFFLE_FLOOR, SHUFFLE_FACTOR * spread))


def epoch_tolerance(budget: float) -> float:
    """Of an epoch's update, from its float32 budget."""
    return min(EPOCH.ceiling, max(FLOOR_ROUNDINGS * ROUNDING["float32"], FACTOR * budget))
