"""Candidate: what the judge asks of an implementation. Trial: what the timing asks besides."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from core_torch.spec.architecture import Architecture, architecture_from, architecture_named

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


class Trial(Candidate, Protocol):
    """A candidate with its data."""

    def epoch(self, epoch: int) -> int:
        """Train on one pass over the data by the case's route; returns once the device is done, with the
        number of images seen.
        """


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one worker process prepares. Every field is a plain value, so that it travels as JSON."""

    framework: str  # a key of cases.FRAMEWORKS
    route: str = "lean"  # how the data reaches the model, a key of that framework's routes
    model: str | dict[str, Any] = "shallow"  # a name in ARCHITECTURES, or what `describe` makes of an architecture
    batch_size: int = 512  # images
    device: str = "cpu"
    dtype: str = "float32"  # or float64

    @property
    def architecture(self) -> Architecture:
        """The one named or described."""
        return architecture_named(self.model) if isinstance(self.model, str) else architecture_from(self.model)
