"""TrainingState: all that training changes, as arrays and JSON, and back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from core_torch.spec.errors import CheckpointError, check_integer
from core_torch.training.history import History
from core_torch.training.monitor import TrainingMonitor

Arrays = dict[str, np.ndarray]
SCHEDULER_KEYS = ("last_epoch", "_step_count", "_last_lr")  # of a scheduler; the rest of it follows from the recipe


@dataclass
class TrainingState:
    """The parts of a run; each is one that `train` has built.

    Attributes:
        criterion: whose attribute `generator`, where it has one, draws random probes.
        noise: what corruption is drawn from.
        best_weights: of the epoch to return to, under `Recipe.patience`.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler | None
    criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    noise: torch.Generator
    monitor: TrainingMonitor
    history: History = field(default_factory=History)
    best_weights: dict[str, torch.Tensor] | None = None

    def arrays(self) -> Arrays:
        """Collect every array; names start with what they are of."""
        tensors = {f"weight/{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in (self.best_weights or {}).items()}
        for name, parameter in self.model.named_parameters():
            state = self.optimizer.state.get(parameter, {})
            tensors |= {f"optimizer/{key}/{name}": value for key, value in state.items() if value is not None}
        generators = {"noise": self.noise, "probes": getattr(self.criterion, "generator", None)}
        tensors |= {f"generator/{name}": source.get_state() for name, source in generators.items() if source}
        if self.monitor.total is not None:
            tensors["total"] = self.monitor.total
        return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    def numbers(self) -> dict[str, object]:
        """Collect the place in the run, the schedule and the history."""
        scheduled = self.scheduler.state_dict() if self.scheduler else {}
        return {
            "epoch": self.monitor.epoch,
            "steps": self.monitor.steps,
            "images": self.monitor.images,
            "seconds": self.monitor.seconds,
            "history": dict(vars(self.history)),
            "rates": [group["lr"] for group in self.optimizer.param_groups],
            "schedule": {name: scheduled[name] for name in SCHEDULER_KEYS if scheduled},
        }

    def restore(self, arrays: Arrays, numbers: dict[str, Any], *, where: str) -> None:
        """Restore what `arrays` and `numbers` gave.

        Raises:
            CheckpointError: they are of another run.
        """
        try:
            for name in ("epoch", "steps", "images"):
                check_integer(name, numbers[name], minimum=0)
            self._restore_arrays(arrays)
            self.history = History(**numbers["history"])
            for group, rate in zip(self.optimizer.param_groups, numbers["rates"], strict=True):
                group["lr"] = rate
            if self.scheduler:
                schedule = {name: numbers["schedule"][name] for name in SCHEDULER_KEYS}
                self.scheduler.load_state_dict(self.scheduler.state_dict() | schedule)
            total = torch.tensor(arrays["total"], device=self.noise.device) if "total" in arrays else None
            self.monitor.epoch = numbers["epoch"]
            self.monitor.restart(
                steps=numbers["steps"], images=numbers["images"], total=total, seconds=float(numbers["seconds"])
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{where}: does not fit this run ({error})") from error

    @torch.no_grad()
    def _restore_arrays(self, arrays: Arrays) -> None:
        if unfit := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
            raise ValueError(f"{unfit[0]} holds a value that is not finite")
        given = {name: torch.tensor(array) for name, array in arrays.items()}
        weights = self.model.state_dict()
        for name, weight in weights.items():
            weight.copy_(given[f"weight/{name}"])  # into its own memory, whose layout decides how sums are rounded
        if any(name.startswith("best/") for name in given):
            self.best_weights = {name: torch.empty_like(weight) for name, weight in weights.items()}
            for name, weight in self.best_weights.items():
                weight.copy_(given[f"best/{name}"])
        for name, parameter in self.model.named_parameters():
            for key in (found.split("/")[1] for found in given if found.startswith("optimizer/")):
                if (value := given.get(f"optimizer/{key}/{name}")) is not None:
                    alike = value.shape == parameter.shape
                    self.optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(value) if alike else value
        self.noise.set_state(given["generator/noise"])
        if "generator/probes" in given:
            probes = torch.Generator(self.noise.device)
            probes.set_state(given["generator/probes"])
            self.criterion.generator = probes  # type: ignore[attr-defined]
