"""core_torch's side of the benchmark: the readable loop over a resident dataset, or over the tutorial's DataLoader."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.per_image import PerImageDataset
from benchmarks.trial import Arrays, Case
from core_torch.contract.architecture import architecture_named
from core_torch.contract.errors import check_choice
from core_torch.contract.pixels import Split
from core_torch.contract.recipe import Recipe
from core_torch.data.resident import Batch, ResidentDataset
from core_torch.models.autoencoder import build_autoencoder, load_reference_weights, to_reference_weights
from core_torch.training.loop import build_optimizer, train_epoch


class TorchTrial:
    """See `benchmarks.trial.Trial`."""

    def __init__(self, case: Case, split: Split, recipe: Recipe) -> None:
        check_choice("route", case.route, ("lean", "tutorial"))
        self.case, self.recipe = case, recipe
        self.model = build_autoencoder(architecture_named(case.model), seed=recipe.seed).to(case.device)
        self.criterion = nn.MSELoss()
        self.optimizer = build_optimizer(self.model, recipe)
        if case.route == "lean":
            self.dataset = ResidentDataset(split, device=case.device)
        else:
            self.loader: DataLoader = DataLoader(PerImageDataset(split), batch_size=case.batch_size, shuffle=True)

    def load(self, weights: Arrays) -> None:
        """Set every weight; forget the momentum."""
        load_reference_weights(self.model, weights)
        self.optimizer = build_optimizer(self.model, self.recipe)

    def weights(self) -> Arrays:
        """The current weights."""
        return to_reference_weights(self.model)

    @torch.no_grad()
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs (N, pixels)."""
        return self.model(self._tensor(inputs)).cpu().numpy()

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Loss and gradients, by autograd."""
        loss = self.criterion(self.model(self._tensor(inputs)), self._tensor(targets))
        names, parameters = zip(*self.model.named_parameters())
        gradients = torch.autograd.grad(loss, parameters)
        return loss.item(), {name: gradient.cpu().numpy() for name, gradient in zip(names, gradients)}

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """The loop's own step, on one batch."""
        return self._run([(self._tensor(inputs), self._tensor(targets))])

    def epoch(self, epoch: int) -> int:
        """One pass by the case's route."""
        if self.case.route == "lean":
            self._run(self.dataset.batches(self.case.batch_size, seed=self.recipe.seed, epoch=epoch))
            return len(self.dataset)
        batches = ((images.to(self.case.device), images.to(self.case.device).flatten(1)) for images, _ in self.loader)
        self._run(batches)
        return len(self.loader.dataset)  # type: ignore[arg-type]

    def _run(self, batches: Iterable[Batch]) -> float:
        return train_epoch(self.model, batches, criterion=self.criterion, optimizer=self.optimizer)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.case.device)


def pin_precision() -> None:
    """float32 throughout: cuDNN's convolutions use TF32 by default, matrix products do where they are told to."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def prepare(case: Case, split: Split, recipe: Recipe) -> TorchTrial:
    """The trial of a case."""
    pin_precision()
    return TorchTrial(case, split, recipe)
