"""The Lightning port as a candidate: `training_step`, and the optimizer that the module configures."""

import numpy as np
import torch

from core_torch.data.resident import Batch
from core_torch.models.autoencoder import build_autoencoder, load_reference_weights, to_reference_weights
from core_torch.parity.adapters.torch import gradients_of, layer_outputs, state_of
from core_torch.parity.candidate import Arrays
from core_torch.spec.architecture import Architecture
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import Recipe
from core_torch.training.candidate import exact, pin_precision
from lightning_impl.model import LitAutoencoder


class PersistentOptimizer(LitAutoencoder):
    """Keeps its momentum from one `fit` to the next."""

    kept: torch.optim.Optimizer | None = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The same optimizer every time."""
        self.kept = self.kept or super().configure_optimizers()
        return self.kept


class LightningCandidate:
    """See `core_torch.parity.candidate.Candidate`."""

    def __init__(
        self, architecture: Architecture, recipe: Recipe, *, dtype: str = "float32", device: str = "cpu"
    ) -> None:
        self.recipe, self.device, self.dtype = recipe, torch.device(device), getattr(torch, dtype)
        self.lit = PersistentOptimizer.wrap(build_autoencoder(architecture, seed=recipe.seed), recipe).to(self.dtype)
        self.lit.criterion, self.lit.corrupt = exact(self.lit.criterion), None  # noise comes with the inputs

    def load(self, weights: Arrays) -> None:
        """Set every weight; forget the momentum."""
        load_reference_weights(self.lit.model, weights)
        self.lit.kept = None

    def weights(self) -> Arrays:
        """The current weights."""
        return to_reference_weights(self.lit.model)

    def activations(self, inputs: np.ndarray) -> Arrays:
        """The output by `predict_step`, the layers of the module it holds."""
        batch = self._batch(inputs, inputs)
        with torch.no_grad():
            output = self.lit.predict_step(batch, 0).cpu().numpy()
        return layer_outputs(self.lit.model, batch[0]) | {"output": output}

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Of `training_step`, by autograd."""
        loss = self._loss(self._batch(inputs, targets))
        return loss.item(), gradients_of(loss, self.lit.model)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """`training_step`, and the optimizer that the module configures."""
        batch, optimizer = self._batch(inputs, targets), self.lit.configure_optimizers()
        loss = self._loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def _loss(self, batch: Batch) -> torch.Tensor:
        loss = self.lit.training_step(batch, 0)
        if loss is None:
            raise ConfigError("solver: found one, allowed: none, a layer that is solved for has no step")
        return loss

    def set_learning_rate(self, learning_rate: float) -> None:
        """From the next step on."""
        self.lit.configure_optimizers().param_groups[0]["lr"] = learning_rate

    def optimizer_state(self) -> Arrays:
        """In the oracle's names."""
        return state_of(self.lit.configure_optimizers(), self.lit.model)

    def _batch(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """On the device; and so the model and its momentum, which `fit` leaves on the CPU."""
        self.lit.to(self.device)
        if self.lit.kept:
            self.lit.kept.load_state_dict(self.lit.kept.state_dict())
        on_device = [torch.from_numpy(array).to(self.device, self.dtype) for array in (inputs, targets)]
        return on_device[0], on_device[1]


def build_candidate(architecture: Architecture, recipe: Recipe, *, dtype: str = "float32") -> LightningCandidate:
    """The model at the recipe's seed, on the CPU."""
    pin_precision()
    return LightningCandidate(architecture, recipe, dtype=dtype)
