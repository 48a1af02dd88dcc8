"""Bug: what is wrong with a port, as a candidate that computes in NumPy what such a port would.

Bugs serve twice. The judge has to reject every one of them, which is how its power is known. When it rejects somebody's
port, each is tried: the one that computes the same wrong numbers is the diagnosis.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.parity.problem import Problem
from core_torch.spec.layers import Layer

LayerEdit = Callable[[str, Layer, OracleCandidate], Layer]
Relayout = Callable[[str, np.ndarray, Problem], np.ndarray]
Pair = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Bug:
    """What is wrong, in words and as the places where it differs from the oracle."""

    says: str
    fed: Callable[[np.ndarray], np.ndarray] | None = None  # what reaches the model
    reads: tuple[Relayout, Relayout] | None = None  # how weights are mistaken on the way in, and undone on the way out
    hands_out: Callable[[Arrays], Arrays] | None = None  # the weights
    edits: LayerEdit | None = None
    rescales: Callable[[np.ndarray], float] | None = None  # loss and gradients, by a factor made from the inputs
    spoils: Callable[[str, np.ndarray], np.ndarray] | None = None  # one gradient
    shows: Callable[[str, np.ndarray, OracleOptimizer], np.ndarray] | None = None  # one array of optimizer state
    oracle: type[Oracle] = Oracle
    optimizer: type[OracleOptimizer] = OracleOptimizer
    recipe: dict[str, Any] = field(default_factory=dict)  # numbers it has wrong
    inputs: Pair | None = None  # of training, from (inputs, targets)
    targets: Pair | None = None  # likewise
    port: "type[BuggyCandidate] | None" = None  # for what a method does at the wrong time
    needs: Callable[[Problem], bool] = lambda problem: True  # where it can exist

    def candidate(self, problem: Problem, *, dtype: str = "float32") -> "BuggyCandidate":
        """Build a port with this bug."""
        return (self.port or BuggyCandidate)(self, problem, dtype=dtype)


class BuggyCandidate(OracleCandidate):
    """See `Bug`; without one, a right port."""

    def __init__(self, bug: Bug, problem: Problem, *, dtype: str) -> None:
        self.bug, self.oracle_class, self.optimizer_class = bug, bug.oracle, bug.optimizer
        super().__init__(replace(problem, recipe=problem.recipe.with_changes(**bug.recipe)), dtype=dtype)

    def load(self, weights: Arrays) -> None:
        """Set the weights that the bug mistakes, and its layers."""
        super().load(self.through(weights, 0))
        if self.bug.edits:
            self.oracle.layers = [(name, self.bug.edits(name, layer, self)) for name, layer in self.oracle.layers]

    def weights(self) -> Arrays:
        """Hand the weights out as the bug does."""
        weights = self.through(super().weights(), 1)
        return self.bug.hands_out(weights) if self.bug.hands_out else weights

    def activations(self, inputs: np.ndarray) -> Arrays:
        """Compute the layers from what is fed."""
        return super().activations(self.fed(inputs))

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Spoil the gradients as the bug does."""
        loss, gradients = self.spoilt(inputs, targets)
        return loss, self.through(gradients, 1)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Step by gradients as the bug spoils them."""
        loss, gradients = self.spoilt(inputs, targets)
        self.optimizer.batch = len(inputs)  # type: ignore[attr-defined]
        self.optimizer.apply(gradients)
        return loss

    def optimizer_state(self) -> Arrays:
        """Show the state as the bug has it."""
        state = super().optimizer_state()
        if self.bug.shows:
            state = {name: self.bug.shows(name, value, self.optimizer) for name, value in state.items()}
        return {
            f"{kind}/{name}": value
            for kind in dict.fromkeys(key.partition("/")[0] for key in state)
            for name, value in self.through(_of_kind(kind, state), 1).items()
        }

    def spoilt(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Compute loss and gradients, in the layout in which the model has its weights."""
        wanted = self.bug.targets(inputs, targets) if self.bug.targets else targets
        given = self.bug.inputs(inputs, targets) if self.bug.inputs else inputs
        loss, gradients = super().loss_and_gradients(self.fed(given), wanted)
        factor = self.dtype(self.bug.rescales(inputs)) if self.bug.rescales else self.dtype(1)
        spoils = self.bug.spoils or (lambda name, gradient: gradient)
        return float(factor * loss), {name: spoils(name, factor * value) for name, value in gradients.items()}

    def fed(self, inputs: np.ndarray) -> np.ndarray:
        """Change the inputs as the bug does."""
        return self.bug.fed(inputs).astype(inputs.dtype) if self.bug.fed else inputs

    def through(self, arrays: Arrays, way: int) -> Arrays:
        """Mistake the layout of weights (way 0), or undo it (way 1)."""
        if self.bug.reads is None:
            return arrays
        return {name: self.bug.reads[way](name, value, self.problem) for name, value in arrays.items()}


def _of_kind(kind: str, state: Arrays) -> Arrays:
    return {key.partition("/")[2]: value for key, value in state.items() if key.startswith(f"{kind}/")}
