"""The agreement matrix: six architectures, each trained three ways, and every optimizer; which parts a suite proves."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from benchmarks.parity.judge import Judge
from benchmarks.parity.problem import Problem, corrupted, trained_weights
from benchmarks.trial import Arrays
from core_torch.contract.architecture import ARCHITECTURES
from core_torch.contract.initial_weights import initial_weights
from core_torch.contract.recipe import OBJECTIVES, Recipe

# A step of rate 1 is large beside the rounding of a float32 weight, which at 0.1 would hide what an update check is
# after; these models, trained, are thrown off their minimum by it.
RATE = 1.0
SMALLER_RATES = {"deep": 0.3, "conv-shallow": 0.3, "conv-deep": 0.3}
RATE_DROP = 0.1  # the factor of the learning rate half-way, where a cell changes it
MOMENTUM = 0.9
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": MOMENTUM},
    "nesterov": {"optimizer": "sgd", "momentum": MOMENTUM, "nesterov": True},
    "adam": {"optimizer": "adam", "learning_rate": 1e-3},
    "adamw": {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01},
}
CONTRACTION = 1e-3  # at which penalty and error are of one size
BATCH = 32  # images
CONTRACTIVE_BATCH = 8  # an exact Jacobian costs as many backward passes as there are code units
LONG_RUN = 500  # steps
FLOAT64 = ("core_torch", "lightning", "keras-tensorflow")  # Keras computes partly in float32 on JAX and torch


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One problem of the matrix. The learning rate drops half-way wherever the optimizer is not the usual one."""

    model: str
    objective: str = "standard"
    optimizer: str = "momentum"  # a key of OPTIMIZERS
    weights: str = "trained"  # or initial
    dtype: str = "float32"  # or float64
    steps: int = 10

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
LONG = (Cell(model="shallow", steps=LONG_RUN),)


def recipe_of(cell: Cell, *, seed: int) -> Recipe:
    """What the cell trains by."""
    recipe = Recipe(objective=cell.objective, contraction=CONTRACTION, seed=seed, validation_fraction=0)
    rate = {"learning_rate": SMALLER_RATES.get(cell.model, RATE)}
    return recipe.with_changes(**(rate | OPTIMIZERS[cell.optimizer]))


class Judges:
    """The judges of a matrix over one set of images; each is made once, and a model trained once for all its cells.

    Args:
        images: (N, pixels) float32 in [0, 1].
    """

    def __init__(self, images: np.ndarray, *, seed: int = 0) -> None:
        self.images, self.seed = images, seed
        self.trained, self.judge = lru_cache(self._trained), lru_cache(self._judge)

    def _judge(self, cell: Cell) -> Judge:
        architecture, recipe = ARCHITECTURES[cell.model], recipe_of(cell, seed=self.seed)
        is_trained = cell.weights == "trained"
        weights = self.trained(cell.model) if is_trained else initial_weights(architecture, seed=self.seed)
        drops = {cell.steps // 2 + 1: RATE_DROP * recipe.learning_rate}
        problem = Problem(
            str(cell),
            architecture,
            recipe,
            weights,
            inputs=corrupted(self.images, recipe),
            targets=self.images,
            rates=drops if cell.optimizer != "momentum" else {},
        )
        batch_size = CONTRACTIVE_BATCH if cell.objective == "contractive" else BATCH
        return Judge(problem, steps=cell.steps, batch_size=batch_size)

    def _trained(self, model: str) -> Arrays:
        return trained_weights(ARCHITECTURES[model], self.images, seed=self.seed)
