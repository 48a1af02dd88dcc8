"""TrainingMonitor: counts the steps of an epoch, sums its loss, and ends training where a value is no longer finite."""

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from core_torch.spec.errors import DivergenceError

HOST_TYPES = (torch.float32, torch.float64)  # that NumPy has too


class TrainingMonitor:
    """Stands beside a training loop, which calls `loss` before each update and `step` after it.

    Where the model lives in the host's memory every step is judged: the sum of the losses and the squared norms of the
    weights are read in place, at 1 % of a step of 128 images. An accelerator is never waited for: it is judged at the
    end of an epoch, and before a checkpoint is written.

    Args:
        model: on its device, where it stays.

    Attributes:
        epoch, steps, images: how far training is; the last two in this epoch.
        total: the loss summed over those images, on the model's device; None before the first.
        after_step: called once a step is complete.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.epoch = model, 0
        self.after_step: Callable[[], None] | None = None
        weights = [parameter.detach() for parameter in model.parameters()]
        self.on_host = all(map(_is_on_host, weights))
        # As vectors in the order of memory, whatever the layout: a product with itself is the fastest way to see all.
        flat = [weight.as_strided((weight.numel(),), (1,)) for weight in weights]
        self.weights = [np.from_dlpack(vector) for vector in flat] if self.on_host else []
        self.restart()

    def restart(
        self, *, steps: int = 0, images: int = 0, total: torch.Tensor | None = None, seconds: float = 0.0
    ) -> None:
        """Stand at the beginning of the epoch, or where an earlier process had come to in it."""
        self.steps, self.images, self.started = steps, images, time.perf_counter() - seconds
        self.total: torch.Tensor | None = None
        self.sum: np.ndarray | None = None
        if total is not None:
            self._add(total)

    def next_epoch(self) -> None:
        """The epoch is over."""
        self.epoch += 1
        self.restart()

    @property
    def seconds(self) -> float:
        """Since the epoch began; not those between two processes."""
        return time.perf_counter() - self.started

    def loss(self, loss: torch.Tensor, inputs: torch.Tensor) -> None:
        """Of one batch, before the update. `DivergenceError`: it is not finite."""
        self._add(loss.detach() * len(inputs))
        self.images += len(inputs)
        if self.sum is not None and not math.isfinite(self.sum):
            named = {"the input": inputs} | dict(self.model.named_parameters()) | {"the loss": loss}
            self._blame(named, step=self.steps + 1)

    def step(self) -> None:
        """The update is made. `DivergenceError`: a weight is not finite."""
        self.steps += 1
        if self.on_host:
            with np.errstate(all="ignore"):
                finite = math.isfinite(sum(float(np.dot(weight, weight)) for weight in self.weights))
            if not finite:
                self.check()
        if self.after_step is not None:
            self.after_step()

    def mean(self) -> float:
        """The loss averaged over the images; the host waits for the device. `DivergenceError`: see `check`."""
        if not self.on_host:
            self.check()
        return float(self.total) / self.images  # type: ignore[arg-type]

    def check(self) -> None:
        """`DivergenceError` unless all weights, the gradients that changed them last, and the losses are finite."""
        losses = {} if self.total is None else {"the loss": self.total}
        self._blame(dict(self._gradients()) | dict(self.model.named_parameters()) | losses, step=self.steps)

    def _add(self, loss: torch.Tensor) -> None:
        if self.total is not None:
            self.total += loss
            return
        self.total = loss
        self.sum = np.from_dlpack(loss) if _is_on_host(loss) else None  # the same memory

    def _gradients(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None:
                yield f"the gradient of {name}", parameter.grad

    def _blame(self, tensors: dict[str, torch.Tensor], *, step: int) -> None:
        """Raise for the first of these that is not finite."""
        name = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
        if name is not None:
            advice = "" if name == "the input" else "; lower the learning_rate"
            raise DivergenceError(f"epoch {self.epoch}: at step {step} {name} is not finite{advice}")


def _is_on_host(tensor: torch.Tensor) -> bool:
    """Whether NumPy can see it where it lies."""
    return tensor.is_cpu and tensor.dtype in HOST_TYPES
