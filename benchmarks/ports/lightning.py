"""Lightning's side of the benchmark: a bare Trainer over a resident dataset, or one at its defaults."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.loaders.per_image import PerImageDataset
from benchmarks.ports.core_torch import exact, gradients_of, layer_outputs, pin_precision, state_of
from benchmarks.ports.timed_port import Arrays, Case
from core_torch.data.resident import Batch, ResidentDataset
from core_torch.files.splits import Split
from core_torch.models.autoencoder import build_autoencoder, load_reference_weights, to_reference_weights
from core_torch.spec.errors import ConfigError, check_choice
from core_torch.spec.recipe import Recipe
from lightning_impl.datamodule import EpochOrder, ResidentBatches, with_targets
from lightning_impl.module import LitAutoencoder

BAREBONES = {"barebones": True}
TRAINERS: dict[str, dict[str, Any]] = {
    "default": {},
    "no-extras": {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    },
    "barebones": BAREBONES,
}


class KeptOptimizer(LitAutoencoder):
    """Keeps its momentum from one `fit` to the next."""

    kept: torch.optim.Optimizer | None = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The same optimizer every time."""
        self.kept = self.kept or super().configure_optimizers()
        return self.kept


class LightningTrial:
    """See `benchmarks.ports.timed_port.Trial`."""

    def __init__(self, case: Case, split: Split, recipe: Recipe) -> None:
        check_choice("route", case.route, ("lean", *TRAINERS))
        self.case, self.recipe, self.device = case, recipe, torch.device(case.device)
        self.dtype = getattr(torch, case.dtype)
        self.lit = KeptOptimizer.wrap(build_autoencoder(case.architecture, seed=recipe.seed), recipe).to(self.dtype)
        self.lit.criterion, self.lit.corrupt = exact(self.lit.criterion), None  # noise comes with the inputs
        self.count = len(split)
        if case.route == "lean":
            self.dataset = ResidentDataset(split, device=self.device)
        else:
            self.loader: DataLoader = DataLoader(
                PerImageDataset(split), case.batch_size, shuffle=True, collate_fn=with_targets
            )
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)

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

    def epoch(self, epoch: int) -> int:
        """One `fit` of one epoch, the start and end of its Trainer included."""
        with quiet(), tempfile.TemporaryDirectory() as folder:
            options = TRAINERS.get(self.case.route, BAREBONES)
            self._trainer(default_root_dir=folder, **options).fit(self.lit, self.batches(epoch))
        return self.count

    def batches(self, epoch: int) -> ResidentBatches | DataLoader:
        """What the Trainer is given."""
        if self.case.route != "lean":
            return self.loader
        order = EpochOrder(self.count, seed=self.recipe.seed, first_epoch=epoch)
        return ResidentBatches(self.dataset, self.case.batch_size, sampler=order)

    def _trainer(self, **options: Any) -> L.Trainer:
        accelerator = "gpu" if self.device.type == "cuda" else self.device.type
        return L.Trainer(max_epochs=1, accelerator=accelerator, devices=1, **options)

    def _batch(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """On the device; and so the model and its momentum, which `fit` leaves on the CPU."""
        self.lit.to(self.device)
        if self.lit.kept:
            self.lit.kept.load_state_dict(self.lit.kept.state_dict())
        on_device = [torch.from_numpy(array).to(self.device, self.dtype) for array in (inputs, targets)]
        return on_device[0], on_device[1]


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing printed, no warnings."""
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        warnings.catch_warnings(action="ignore"),
    ):
        yield


def prepare(case: Case, split: Split, recipe: Recipe) -> LightningTrial:
    """The trial of a case."""
    pin_precision()
    return LightningTrial(case, split, recipe)
