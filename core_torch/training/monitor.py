"""TrainingMonitor: counts the steps of an epoch, sums its loss, and ends training where a value is not finite."""

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from core_torch.spec.errors import DivergenceError


class TrainingMonitor:
    """Stand beside a training loop, which calls `loss` before each update and `step` after it.

    On a CPU every step is checked: the sum of the losses and the sum of each weight, at 1 % of a step of 128 images.
    An accelerator is never waited for: it is checked at the end of an epoch, and before a checkpoint is written.

    Args:
        model: on its device.

    Attributes:
        epoch, steps, images: how far training is; the last two in this epoch.
        total: the loss summed over those images, on the model's device; None before the first.
        after_step: called once a step is complete.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.epoch = model, 0
        self.after_step: Callable[[], None] | None = None
        self.on_host = all(parameter.is_cpu for parameter in model.parameters())
        self.restart()

    def restart(
        self, *, steps: int = 0, images: int = 0, total: torch.Tensor | None = None, seconds: float = 0.0
    ) -> None:
        """Go to the beginning of the epoch, or to where an earlier process was in it."""
        self.steps, self.images, self.total = steps, images, total
        self.started = time.perf_counter() - seconds

    def next_epoch(self) -> None:
        """Count an epoch."""
        self.epoch += 1
        self.restart()

    @property
    def seconds(self) -> float:
        """Since the epoch began; not those between two processes."""
        return time.perf_counter() - self.started

    def loss(self, loss: torch.Tensor, inputs: torch.Tensor) -> None:
        """Add the loss of one batch, before the update. `DivergenceError`: it is not finite."""
        summed = loss.detach() * len(inputs)
        self.total = summed if self.total is None else self.total.add_(summed)
        self.images += len(inputs)
        if self.on_host and not math.isfinite(self.total.item()):
            named = {"the input": inputs} | dict(self.model.named_parameters()) | {"the loss": loss}
            self._raise_for_first(named, step=self.steps + 1)

    @torch.no_grad()
    def step(self) -> None:
        """Count an update. `DivergenceError`: a weight is not finite."""
        self.steps += 1
        # A sum is not finite if a term is not. A sum of finite terms can overflow, so `check` has the last word.
        if self.on_host and not all(math.isfinite(weight.sum().item()) for weight in self.model.parameters()):
            self.check()
        if self.after_step is not None:
            self.after_step()

    def mean(self) -> float:
        """Return the loss averaged over the images; the host waits for the device. `DivergenceError`: see `check`."""
        if not self.on_host:
            self.check()
        total = math.nan if self.total is None else float(self.total)
        return total / self.images

    def check(self) -> None:
        """Raise `DivergenceError` unless all weights, their last gradients and the losses are finite."""
        losses = {} if self.total is None else {"the loss": self.total}
        self._raise_for_first(dict(self._gradients()) | dict(self.model.named_parameters()) | losses, step=self.steps)

    def _gradients(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None:
                yield f"the gradient of {name}", parameter.grad

    def _raise_for_first(self, tensors: dict[str, torch.Tensor], *, step: int) -> None:
        """Raise for the first of these that is not finite; the host waits once."""
        finite = torch.stack([tensor.isfinite().all() for tensor in tensors.values()]).tolist()
        for name, is_finite in zip(tensors, finite):
            if not is_finite:
                advice = "" if name == "the input" else "; lower the learning_rate"
                raise DivergenceError(f"epoch {self.epoch}: at step {step} {name} is not finite{advice}")
