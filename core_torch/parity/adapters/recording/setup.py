"""Setup: a module, its loss and its optimizer, from which candidates of either precision are made."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import nn

from core_torch.parity.adapters.torch import Criterion, TorchCandidate

BuildOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Build = Callable[[str], TorchCandidate[Any]]  # called with float32 or float64
Candidate = TypeVar("Candidate", bound=TorchCandidate[Any])


@dataclass(frozen=True)
class Setup:
    """What `record` was given.

    Attributes:
        model: stays as it is; every candidate has a copy.
        loss: called as loss(output, target).
        optimizer: called with the parameters.
    """

    model: nn.Module
    loss: Criterion
    optimizer: BuildOptimizer

    @property
    def moving(self) -> int:
        """Count the numbers that have a gradient."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def candidate(self, dtype: str, *, kind: type[Candidate] = TorchCandidate) -> Candidate:  # type: ignore[assignment]
        """A candidate in training mode, of float32 or float64."""
        model = copy.deepcopy(self.model).to(getattr(torch, dtype)).train()
        return kind(model, self.loss, lambda module: self.optimizer(module.parameters()))

    def changed(self, **changes: Any) -> "Setup":
        """The same with another model, loss or optimizer."""
        return replace(self, **changes)

    def with_model(self, change: Callable[[nn.Module], int]) -> "Setup | None":
        """The same with a copy of the model that `change` changed; None where it changed nothing."""
        model = copy.deepcopy(self.model)
        return self.changed(model=model) if change(model) else None

    def with_optimizer(self, change: Callable[[torch.optim.Optimizer], torch.optim.Optimizer | None]) -> "Setup | None":
        """The same with another optimizer; None where `change` returns none."""
        if change(self.optimizer(copy.deepcopy(self.model).parameters())) is None:
            return None

        def build(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
            changed = change(self.optimizer(parameters))
            if changed is None:
                raise ValueError("an optimizer that cannot be changed this way")
            return changed

        return self.changed(optimizer=build)
