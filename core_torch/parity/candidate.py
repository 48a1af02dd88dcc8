"""Candidate: the questions that a comparison asks an implementation."""

from typing import Protocol

import numpy as np

Arrays = dict[str, np.ndarray]


class Candidate(Protocol):
    """A model with its loss and its optimizer, as the recipe says, in any framework or none.

    All arrays are NumPy, in the reference's names and layout (`encoder.0.weight` is (outputs, inputs)); inputs and
    targets are (N, pixels) in [0, 1]. Noise is in the inputs already.
    """

    def load(self, weights: Arrays) -> None:
        """Set every weight; put the optimizer back to its start."""

    def weights(self) -> Arrays:
        """The current weights."""

    def activations(self, inputs: np.ndarray) -> Arrays:
        """{"output": (N, pixels)}, and as many of "input" and the layers ("encoder.1": its output) as it likes to show.

        The input is compared bit for bit; the layers tell where a difference begins.
        """

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """The objective of the recipe, and its gradient for every weight; changes nothing."""

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """One optimizer step; the loss before it."""

    def set_learning_rate(self, learning_rate: float) -> None:
        """From the next step on; asked only where a problem changes it."""

    def optimizer_state(self) -> Arrays:
        """As `OracleOptimizer.state`, which it is compared with; an empty dictionary if it keeps that to itself."""
