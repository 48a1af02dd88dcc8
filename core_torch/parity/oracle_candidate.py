"""The oracle as a candidate, so that judge, float32 budget and frameworks go through one door."""

import numpy as np

from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.problem import Problem


class OracleCandidate:
    """See `core_torch.parity.candidate.Candidate`."""

    oracle_class: type[Oracle] = Oracle
    optimizer_class: type[OracleOptimizer] = OracleOptimizer

    def __init__(self, problem: Problem, *, dtype: str = "float64") -> None:
        self.problem, self.dtype = problem, np.dtype(dtype).type
        self.load(problem.weights)

    def load(self, weights: Arrays) -> None:
        """Set every weight; forget the optimizer's state."""
        self.oracle = self.oracle_class(self.problem.architecture, weights, dtype=self.dtype)
        self.optimizer = self.optimizer_class(self.oracle, self.problem.recipe)

    def weights(self) -> Arrays:
        """The current weights."""
        return dict(self.oracle.weights)

    def activations(self, inputs: np.ndarray) -> Arrays:
        """Of every layer; the input as it came."""
        return self.oracle.activations(inputs) | {"input": inputs}

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Of the recipe's objective."""
        return self.optimizer.gradients(inputs, targets)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """One step; the loss before it."""
        return self.optimizer.step(inputs, targets)

    def set_learning_rate(self, learning_rate: float) -> None:
        """From the next step on."""
        self.optimizer.learning_rate = learning_rate

    def optimizer_state(self) -> Arrays:
        """As PyTorch would hold it."""
        return self.optimizer.state
