"""core_torch's side of the benchmark: the readable loop over a resident dataset, or over the tutorial's DataLoader."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.loaders.per_image import PerImageDataset
from benchmarks.ports.frameworks import AT_ONCE, FRAMEWORKS, GRAPHED, TOGETHER
from benchmarks.ports.timed_port import Arrays, Case
from core_torch.data.device import choose_products
from core_torch.data.residency import resident_or_streamed
from core_torch.data.resident import Batch, ResidentDataset
from core_torch.files.splits import Split
from core_torch.models.autoencoder import Autoencoder, build_autoencoder, load_reference_weights, to_reference_weights
from core_torch.objectives.contractive import ContractiveLoss
from core_torch.spec.batch_order import epoch_order
from core_torch.spec.errors import check_choice
from core_torch.spec.recipe import Recipe
from core_torch.training.by_hand import StepsByHand
from core_torch.training.ensemble import Ensemble
from core_torch.training.graphed import GraphedSteps, fused_optimizer
from core_torch.training.loop import Criterion, build_criterion, build_optimizer, train_epoch


class TorchTrial:
    """See `benchmarks.ports.timed_port.Trial`."""

    def __init__(self, case: Case, split: Split, recipe: Recipe) -> None:
        check_choice("route", case.route, FRAMEWORKS["core_torch"].routes)
        self.case, self.recipe, self.count = case, recipe, len(split)
        self.dtype = getattr(torch, case.dtype)
        self.model = build_autoencoder(case.architecture, seed=recipe.seed).to(case.device, self.dtype)
        self.trained: Any = torch.compile(self.model) if "compiled" in case.route else self.model
        self.criterion = exact(build_criterion(self.model, recipe))
        self.optimizer = self._new_optimizer()
        self.loader: DataLoader | None = None
        self.fell_back_to = ""  # a residency, where the split does not fit on the device as the route has it
        if case.route == "tutorial":
            self.loader = DataLoader(PerImageDataset(split), batch_size=case.batch_size, shuffle=True)
        elif case.route == "by-hand":
            self.dataset = ResidentDataset(split, device=case.device, residency="uint8")
        else:
            self.dataset = resident_or_streamed(split, device=case.device)
            self.fell_back_to = self.dataset.residency if self.dataset.residency != "float32" else ""
        self._record()

    def load(self, weights: Arrays) -> None:
        """Set every weight; forget the momentum."""
        load_reference_weights(self.model, weights)
        self.optimizer = self._new_optimizer()
        self._record()

    def _record(self) -> None:
        if self.case.route in GRAPHED:
            parts: dict[str, Any] = {"criterion": self.criterion, "optimizer": self.optimizer}
            self.graphed = GraphedSteps(self.trained, self.dataset, **parts)
        if self.case.route == AT_ONCE:
            models = [self.model, *(build_autoencoder(self.case.architecture) for _ in range(TOGETHER - 1))]
            for other in models[1:]:
                other.load_state_dict(self.model.state_dict())
            self.together = Ensemble(models, self.dataset, [self.recipe] * TOGETHER, steps=1)
            self.optimizer = self.together.optimizer
        if self.case.route == "by-hand":
            largest = max(self.recipe.batch_size, self.case.batch_size)
            self.by_hand = StepsByHand(self.model, self.recipe.with_changes(batch_size=largest))

    def _new_optimizer(self) -> torch.optim.Optimizer:
        optimizer = build_optimizer(self.model, self.recipe)
        return fused_optimizer(optimizer) if self.case.route in GRAPHED | {"fused"} else optimizer

    def weights(self) -> Arrays:
        """The current weights."""
        return to_reference_weights(self.model)

    def activations(self, inputs: np.ndarray) -> Arrays:
        """Of every layer."""
        return layer_outputs(self.model, self._tensor(inputs))

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Loss and gradients, by autograd."""
        loss = self.criterion(self.model(self._tensor(inputs)), self._tensor(targets))
        return loss.item(), gradients_of(loss, self.model)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """The loop's own step, on one batch."""
        return self._run([(self._tensor(inputs), self._tensor(targets))])

    def set_learning_rate(self, learning_rate: float) -> None:
        """From the next step on."""
        if self.case.route == "by-hand":
            self.by_hand.learning_rate = learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"].fill_(learning_rate) if torch.is_tensor(group["lr"]) else learning_rate

    def optimizer_state(self) -> Arrays:
        """In the oracle's names."""
        return state_of(self.optimizer, self.model)

    def epoch(self, epoch: int) -> int:
        """One pass by the case's route."""
        if self.case.route == AT_ONCE:
            orders = torch.stack([self._order(epoch, shift=number) for number in range(TOGETHER)])
            self.together.epoch(orders.to(self.case.device), self.case.batch_size).tolist()
        elif self.case.route in GRAPHED:
            order = self._order(epoch)
            steps = len(order) if self.case.route == "graphed-epoch" else 1  # at the most
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
        if self.case.route == "by-hand":
            return self.by_hand.run(batches)
        if self.case.route == AT_ONCE:
            losses = [self.together.step(*(part.expand(TOGETHER, *part.shape) for part in batch)) for batch in batches]
            return losses[-1][0].item()
        return train_epoch(self.trained, batches, criterion=self.criterion, optimizer=self.optimizer)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.case.device, self.dtype)


def exact(criterion: Criterion) -> Criterion:
    """A contractive loss without its random estimator, which no two frameworks draw alike."""
    if isinstance(criterion, ContractiveLoss):
        criterion.estimator = "exact"
    return criterion


@torch.no_grad()
def layer_outputs(model: Autoencoder, inputs: torch.Tensor) -> Arrays:
    """{"input", "encoder.0", ..., "decoder.0", ..., "output"}, layer by layer as the model's forward pass does."""
    found, x = {"input": inputs}, inputs.reshape(len(inputs), *model.architecture.input_shape)
    for part, layers in (("encoder", model.encoder), ("decoder", model.decoder)):
        for index, layer in enumerate(layers):
            x = found[f"{part}.{index}"] = layer(x)
    found["output"] = model(inputs)
    return {name: value.cpu().numpy() for name, value in found.items()}


def gradients_of(loss: torch.Tensor, model: Autoencoder) -> Arrays:
    """{name: gradient}, by autograd; of a weight that the loss does not reach, zero."""
    names, parameters = zip(*model.named_parameters())
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    return {name: gradient.cpu().numpy() for name, gradient in zip(names, gradients)}


STATE_NAMES = {"momentum_buffer": "momentum", "exp_avg": "first_moment", "exp_avg_sq": "second_moment"}


def state_of(optimizer: torch.optim.Optimizer, model: Autoencoder) -> Arrays:
    """{"momentum/NAME", ...} in the oracle's names."""
    return {
        f"{STATE_NAMES[kind]}/{name}": value.cpu().numpy()
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state[parameter].items()
        if kind in STATE_NAMES and value is not None
    }


def pin_precision() -> None:
    """float32 throughout: cuDNN's convolutions use TF32 by default, matrix products do where they are told to."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def prepare(case: Case, split: Split, recipe: Recipe) -> TorchTrial:
    """The trial of a case."""
    pin_precision()
    if case.route == "by-hand":
        choose_products()
    return TorchTrial(case, split, recipe)
