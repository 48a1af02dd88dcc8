"""Trial: one framework's side of one case, as the harness sees it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one worker process prepares. Every field is a plain value, so that it travels as JSON."""

    framework: str  # a key of cases.FRAMEWORKS
    route: str  # how the data reaches the model, a key of that framework's routes
    model: str = "shallow"  # a name in architecture.ARCHITECTURES
    batch_size: int = 512  # images
    device: str = "cpu"


class Trial(Protocol):
    """A prepared model with its optimizer (SGD with the recipe's learning rate and momentum) and its data.

    All arrays are NumPy float32 in the reference's names and layout; inputs and targets are (N, pixels).
    """

    def load(self, weights: Arrays) -> None:
        """Set every weight; forget the optimizer's momentum."""

    def weights(self) -> Arrays:
        """The current weights."""

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """The model's output (N, pixels)."""

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Mean squared error over images and pixels, and its gradient for every weight; changes nothing."""

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """One optimizer step; the loss before it."""

    def epoch(self, epoch: int) -> int:
        """Train on one pass over the data by the case's route; returns once the device is done, with the
        number of images seen.
        """
