"""Fresh problems: architectures, recipes and weights drawn at random, that no budget was made on."""

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from core_torch.files.splits import load_split, to_unit_range
from core_torch.parity.candidate import Arrays
from core_torch.parity.judge import Judge
from core_torch.parity.matrix import CONTRACTION, DROP_STEP, OPTIMIZERS, RATE_DROP, shrunk
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.problem import GAIN, SPARE, TRAINING, Problem, corrupted, endless_batches
from core_torch.spec.architecture import PIXELS, Architecture, Convolutional, FullyConnected
from core_torch.spec.errors import ConfigError
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.recipe import OBJECTIVES, Recipe

STEPS = 10
SMALLEST_BATCH, LARGEST_BATCH = 4, 24  # images
TRAINING_STEPS = (0, 60)  # of Adam, before the problem begins
RATES = (0.1, 0.3, 1.0)  # times the agreement matrix's


def fresh_judges(seed: int) -> Iterator[Judge]:
    """One problem after the other, from that seed on; those that cannot be judged are passed over."""
    while True:
        with suppress(ConfigError):  # it does not fit together, or rounding alone comes near a ceiling
            yield fresh_judge(seed)
        seed += 1


def fresh_judge(seed: int) -> Judge:
    """The problem of a seed.

    Raises:
        ConfigError: what was drawn is no problem.
    """
    draw = np.random.default_rng(seed)
    architecture = draw_architecture(draw)
    recipe = draw_recipe(draw, architecture, seed=seed)
    batch = int(draw.integers(SMALLEST_BATCH, LARGEST_BATCH + 1))
    images = draw_images(draw, architecture, count=SPARE * batch)
    weights = warmed_up(architecture, images, steps=int(draw.choice(TRAINING_STEPS)), seed=seed)
    name = f"fresh {seed}: {type(architecture).__name__} {recipe.objective} {recipe.optimizer}"
    rates = {DROP_STEP: RATE_DROP * recipe.learning_rate}
    problem = Problem(name, architecture, recipe, weights, corrupted(images, recipe), images, rates=rates)
    with np.errstate(all="ignore"):
        return Judge.of(problem, steps=STEPS, batch_size=batch)


def draw_architecture(draw: np.random.Generator) -> Architecture:
    """Dense or convolutional, equally often."""
    functions: dict[str, Any] = {
        "hidden_activation": str(draw.choice(["relu", "relu", "tanh", "silu"])),
        "code_activation": str(draw.choice(["relu", "linear", "sigmoid", "tanh"])),
        "output_activation": str(draw.choice(["sigmoid", "sigmoid", "linear"])),
    }
    if draw.random() < 0.5:
        widths = (int(draw.integers(5, 10)) ** 2, *(int(width) for width in draw.integers(4, 17, draw.integers(1, 4))))
        return FullyConnected(widths=widths, bias=draw.random() < 0.8, tied=draw.random() < 0.2, **functions)
    count = int(draw.integers(1, 3))
    kernels = tuple(int(size) for size in draw.integers(2, 6, count))
    return Convolutional(
        side=int(draw.integers(7, 14)),
        filters=tuple(int(width) for width in draw.integers(1, 5, count)),
        kernel_sizes=kernels,
        strides=tuple(int(draw.integers(1, 3)) for _ in kernels) if draw.random() < 0.4 else (),
        pool_every=int(draw.integers(0, 3)),
        code_width=int(draw.integers(2, 7)),
        **functions,
    )


def draw_recipe(draw: np.random.Generator, architecture: Architecture, *, seed: int) -> Recipe:
    """Any objective, any optimizer."""
    rate = RATE_DROP * math.sqrt(math.prod(architecture.input_shape) / PIXELS) * float(draw.choice(RATES))
    options = {"learning_rate": rate} | OPTIMIZERS[str(draw.choice(list(OPTIMIZERS)))]
    objective = str(draw.choice(OBJECTIVES))
    recipe = Recipe(objective=objective, contraction=CONTRACTION, seed=seed, validation_fraction=0)
    return recipe.with_changes(**options)


def draw_images(draw: np.random.Generator, architecture: Architecture, *, count: int) -> np.ndarray:
    """(count, pixels): digits, as small as the architecture takes them."""
    images = to_unit_range(load_split("digits").images).reshape(-1, PIXELS)
    chosen = images[draw.choice(len(images), count, replace=False)]
    return shrunk(chosen, side=math.isqrt(math.prod(architecture.input_shape)))


def warmed_up(architecture: Architecture, images: np.ndarray, *, steps: int, seed: int) -> Arrays:
    """Weights after some steps of Adam, in float32."""
    gain = GAIN if isinstance(architecture, FullyConnected) else 1
    start = initial_weights(architecture, seed=seed)
    oracle = Oracle(architecture, {name: value * (gain if value.ndim > 1 else 1) for name, value in start.items()})
    order = endless_batches(len(images), TRAINING.batch_size, seed=seed)
    OracleOptimizer(oracle, TRAINING).train(images, (next(order) for _ in range(steps)))
    return {name: value.astype(np.float32) for name, value in oracle.weights.items()}
