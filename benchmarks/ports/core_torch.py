"""core_torch's side of the benchmark: the readable loop over a resident dataset, or over the tutorial's DataLoader."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.ports.frameworks import ENSEMBLE, ENSEMBLE_SIZE, FRAMEWORKS, GRAPHED_VARIANTS
from benchmarks.ports.per_image import PerImageDataset
from benchmarks.ports.timed_port import Case
from core_torch.data.device import select_matmul_backend
from core_torch.data.residency import resident_or_streamed
from core_torch.data.resident import Batch, ResidentDataset
from core_torch.files.splits import Split
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.parity.adapters.torch import TorchCandidate
from core_torch.parity.candidate import Arrays
from core_torch.spec.batch_order import epoch_order
from core_torch.spec.errors import check_choice
from core_torch.spec.recipe import Recipe
from core_torch.training.candidate import exact, pin_precision
from core_torch.training.ensemble import Ensemble
from core_torch.training.graphed import GraphedSteps, fused_optimizer
from core_torch.training.loop import build_criterion, build_optimizer, train_epoch
from core_torch.training.manual_sgd import ManualSGD


class TimedTorch(TorchCandidate[Autoencoder]):
    """See `benchmarks.ports.timed_port.TimedPort`."""

    def __init__(self, case: Case, split: Split, recipe: Recipe) -> None:
        check_choice("variant", case.variant, FRAMEWORKS["core_torch"].variants)
        self.case, self.recipe, self.count = case, recipe, len(split)
        model = build_autoencoder(case.architecture, seed=recipe.seed).to(case.device, getattr(torch, case.dtype))
        super().__init__(model, exact(build_criterion(model, recipe)), self._new_optimizer)
        self.trained: Any = torch.compile(model) if "compiled" in case.variant else model
        self.loader: DataLoader[Any] | None = None
        self.fell_back_to = ""  # a residency, where the split does not fit on the device as the variant has it
        if case.variant == "tutorial":
            self.loader = DataLoader(PerImageDataset(split), batch_size=case.batch_size, shuffle=True)
        elif case.variant == "by-hand":
            self.dataset = ResidentDataset(split, device=case.device, residency="uint8")
        else:
            self.dataset = resident_or_streamed(split, device=case.device)
            self.fell_back_to = self.dataset.residency if self.dataset.residency != "float32" else ""
        self._record()

    def load(self, weights: Arrays) -> None:
        """Set every weight; forget the momentum."""
        super().load(weights)
        self._record()

    def _record(self) -> None:
        if self.case.variant in GRAPHED_VARIANTS:
            parts: dict[str, Any] = {"criterion": self.criterion, "optimizer": self.optimizer}
            self.graphed = GraphedSteps(self.trained, self.dataset, **parts)
        if self.case.variant == ENSEMBLE:
            models = [self.model, *(build_autoencoder(self.case.architecture) for _ in range(ENSEMBLE_SIZE - 1))]
            for other in models[1:]:
                other.load_state_dict(self.model.state_dict())
            self.ensemble = Ensemble(models, self.dataset, [self.recipe] * ENSEMBLE_SIZE, steps=1)
            self.optimizer = self.ensemble.optimizer
        if self.case.variant == "by-hand":
            largest = max(self.recipe.batch_size, self.case.batch_size)
            self.by_hand = ManualSGD(self.model, self.recipe.with_changes(batch_size=largest))

    def _new_optimizer(self, model: Autoencoder) -> torch.optim.Optimizer:
        optimizer = build_optimizer(self.model, self.recipe)
        return fused_optimizer(optimizer) if self.case.variant in GRAPHED_VARIANTS | {"fused"} else optimizer

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """The loop's own step, on one batch."""
        return self._run([(self.to_tensor(inputs), self.to_tensor(targets))])

    def set_learning_rate(self, learning_rate: float) -> None:
        """From the next step on."""
        if self.case.variant == "by-hand":
            self.by_hand.learning_rate = learning_rate
        super().set_learning_rate(learning_rate)

    def epoch(self, epoch: int) -> int:
        """One pass by the case's variant."""
        if self.case.variant == ENSEMBLE:
            orders = torch.stack([self._order(epoch, shift=number) for number in range(ENSEMBLE_SIZE)])
            self.ensemble.epoch(orders.to(self.case.device), self.case.batch_size).tolist()
        elif self.case.variant in GRAPHED_VARIANTS:
            order = self._order(epoch)
            steps = len(order) if self.case.variant == "graphed-epoch" else 1  # at the most
            self.graphed.run(order, batch_size=self.case.batch_size, steps=steps)
        else:
            self._run(self.batches(epoch))
        return self.count

    def _order(self, epoch: int, *, shift: int = 0) -> torch.Tensor:
        return torch.from_numpy(epoch_order(self.count, seed=self.recipe.seed + shift, epoch=epoch))

    def batches(self, epoch: int) -> Iterable[Batch]:
        """What it trains on, on the device."""
        if self.loader is None:
            return self.dataset.batches(self.case.batch_size, seed=self.recipe.seed, epoch=epoch)
        moved = (images.to(self.case.device) for images, _ in self.loader)
        return ((images, images.flatten(1)) for images in moved)

    def _run(self, batches: Iterable[Batch]) -> float:
        if self.case.variant == "by-hand":
            return self.by_hand.run(batches)
        if self.case.variant == ENSEMBLE:
            losses = [
                self.ensemble.step(*(part.expand(ENSEMBLE_SIZE, *part.shape) for part in batch)) for batch in batches
            ]
            return losses[-1][0].item()
        return train_epoch(self.trained, batches, criterion=self.criterion, optimizer=self.optimizer)


def prepare(case: Case, split: Split, recipe: Recipe) -> TimedTorch:
    """The timed port of a case."""
    pin_precision()
    if case.variant == "by-hand":
        select_matmul_backend()
    return TimedTorch(case, split, recipe)
