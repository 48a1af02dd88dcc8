"""The agreement matrix: six architectures, each trained three ways, and every optimizer; which parts a suite proves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from core_torch.parity.alive import on_paper, revived
from core_torch.parity.candidate import Arrays
from core_torch.parity.judge import Judge
from core_torch.parity.problem import Problem, corrupted, trained_weights
from core_torch.spec.architecture import ARCHITECTURES, IMAGE_SIDE, PIXELS, Architecture
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.recipe import OBJECTIVES, Recipe

# A step of rate 1 is large beside the rounding of a float32 weight, which at 0.1 would hide what an update check is
# after; these models, trained, are thrown off their minimum by it.
RATE = 1.0
SMALLER_RATES = {"deep": 0.3, "randomized-deep": 0.1, "conv-shallow": 0.3, "conv-deep": 0.3}
# At 0.3 rounding alone moved the deep model of full size by 6.7e-5 to 8.7e-5 of its update, over three kinds of
# processor, which is as near to the ceiling as is allowed; at 0.5 by 0.8e-5 to 5.2e-5.
FULL_SIZE_RATES = {"deep": 0.5}
RATE_DROP, DROP_STEP = 0.1, 6  # from that step on a tenth of the learning rate: there the forms of momentum part
MOMENTUM = 0.9
# A hundred times Adam's usual: where a gradient is nothing but rounding, it is not made a whole step of, and where in
# the formula epsilon stands shows.
EPSILON = 1e-6
DECAY = 0.5  # so large that a step and a decay that change places show
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "learning_rate": RATE},  # without momentum no step of it is too far
    "momentum": {"optimizer": "sgd", "momentum": MOMENTUM},
    "nesterov": {"optimizer": "sgd", "momentum": MOMENTUM, "nesterov": True},
    "adam": {"optimizer": "adam", "learning_rate": 1e-3, "epsilon": EPSILON},
    "adamw": {"optimizer": "adamw", "learning_rate": 1e-3, "epsilon": EPSILON, "weight_decay": DECAY},
}
CONTRACTION = 1e-3  # at which the penalty is a few times the error
SMALLER_CONTRACTIONS = {"conv-deep": 1e-4}  # whose Jacobian is ten times the others'
BATCH = 32  # images
CONTRACTIVE_BATCH = 8  # an exact Jacobian costs as many backward passes as there are code units
LONG_RUN = 500  # steps
FLOAT64 = ("core_torch", "lightning", "keras-tensorflow")  # Keras computes partly in float32 on JAX and torch


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One problem of the matrix."""

    model: str
    objective: str = "standard"
    optimizer: str = "momentum"  # a key of OPTIMIZERS
    weights: str = "trained"  # or initial
    dtype: str = "float32"  # or float64
    steps: int = 10
    drop: int = DROP_STEP  # the step from which on the learning rate is a tenth

    def __str__(self) -> str:
        default = {"optimizer": "momentum", "weights": "trained", "dtype": "float32", "steps": 10}
        notable = [value for name, value in vars(self).items() if default.get(name, value) != value]
        texts = [f"{value} steps" if isinstance(value, int) else str(value) for value in notable]
        return ", ".join([f"{self.model} {self.objective}", *texts])

    @property
    def frameworks(self) -> tuple[str, ...] | None:
        """Those that can be asked; None for all."""
        return FLOAT64 if self.dtype == "float64" else None


STANDARD = tuple(Cell(model=model) for model in ARCHITECTURES)
EIGHTEEN = tuple(Cell(model=model, objective=objective) for model in ARCHITECTURES for objective in OBJECTIVES)
FRESH = tuple(replace(cell, weights="initial") for cell in STANDARD)
DOUBLE = tuple(replace(cell, dtype="float64") for cell in STANDARD)
EVERY_OPTIMIZER = tuple(
    Cell(model=model, optimizer=optimizer)
    for model in ("shallow", "deep")
    for optimizer in OPTIMIZERS
    if optimizer != "momentum"
)
LONG = (Cell(model="shallow", steps=LONG_RUN, drop=LONG_RUN // 2),)


def recipe_of(cell: Cell, architecture: Architecture, *, seed: int) -> Recipe:
    """What the cell trains by; the fewer the pixels, the larger the gradient of an error averaged over them."""
    contraction = SMALLER_CONTRACTIONS.get(cell.model, CONTRACTION)
    recipe = Recipe(objective=cell.objective, contraction=contraction, seed=seed, validation_fraction=0)
    pixels = math.prod(architecture.input_shape)
    rates = SMALLER_RATES | (FULL_SIZE_RATES if pixels == PIXELS else {})
    rate = rates.get(cell.model, RATE) * math.sqrt(pixels / PIXELS)
    return recipe.with_changes(**({"learning_rate": rate} | OPTIMIZERS[cell.optimizer]))


def rates_of(cell: Cell, recipe: Recipe) -> dict[int, float]:
    """{step: learning rate from there on}."""
    return {cell.drop: RATE_DROP * recipe.learning_rate}


class Judges:
    """The judges of a matrix over one set of images; each is made once, and a model trained once for all its cells.

    Args:
        images: (N, 784) float32 in [0, 1]; shrunk for an architecture of smaller ones.
        batch: images, of every objective but the contractive.
        training_dtype: in which the trained weights are computed.
        all_alive: lay images on grained paper and revive dead units, so that every weight takes part. A model that
            still has a dead part is then refused.
    """

    def __init__(
        self,
        images: np.ndarray,
        *,
        architectures: Mapping[str, Architecture] = ARCHITECTURES,
        seed: int = 0,
        batch: int = BATCH,
        training_dtype: type = np.float32,
        all_alive: bool = False,
    ) -> None:
        self.images, self.architectures, self.seed, self.batch = images, architectures, seed, batch
        self.training_dtype, self.all_alive = training_dtype, all_alive
        self.trained, self.judge = lru_cache(self._trained), lru_cache(self._judge)

    def images_for(self, model: str) -> np.ndarray:
        """(N, pixels of the model)."""
        small = shrunk(self.images, side=math.isqrt(math.prod(self.architectures[model].input_shape)))
        return on_paper(small, seed=self.seed) if self.all_alive else small

    def _judge(self, cell: Cell) -> Judge:
        architecture = self.architectures[cell.model]
        recipe = recipe_of(cell, architecture, seed=self.seed)
        is_trained = cell.weights == "trained"
        images = self.images_for(cell.model)
        problem = Problem(
            str(cell),
            architecture,
            recipe,
            weights=self.trained(cell.model) if is_trained else initial_weights(architecture, seed=self.seed),
            inputs=corrupted(images, recipe),
            targets=images,
            rates=rates_of(cell, recipe),
        )
        small = min(CONTRACTIVE_BATCH, self.batch)
        batch = small if cell.objective == "contractive" else self.batch
        return Judge.of(problem, steps=cell.steps, batch_size=batch, allow_dead=not (is_trained and self.all_alive))

    def _trained(self, model: str) -> Arrays:
        images = self.images_for(model)
        architecture = self.architectures[model]
        weights = trained_weights(architecture, images, seed=self.seed, dtype=self.training_dtype)
        return revived(architecture, weights, images) if self.all_alive else weights


def shrunk(images: np.ndarray, *, side: int) -> np.ndarray:
    """(N, 784) -> (N, side * side): every n-th pixel of the middle."""
    stride = IMAGE_SIDE // side
    start = (IMAGE_SIDE - stride * side) // 2
    middle = slice(start, start + stride * side, stride)
    return np.ascontiguousarray(images.reshape(-1, IMAGE_SIDE, IMAGE_SIDE)[:, middle, middle]).reshape(len(images), -1)
