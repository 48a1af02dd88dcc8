"""Optimizers that are wrong in one way each."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim import SGD, Optimizer

from core_torch.parity.adapters.recording.other_adam import other_adam
from core_torch.parity.adapters.recording.setup import Setup

RATES = {10.0: "ten times too large", 0.1: "ten times too small", 2.0: "doubled", 0.5: "halved"}
Change = Callable[[Optimizer], Optimizer | None]


def _set(optimizer: Optimizer, **changes: Any) -> Optimizer | None:
    """Change numbers of every group; None where the optimizer has no such number or has it already."""
    if any(key not in group for group in optimizer.param_groups for key in changes):
        return None
    if all(group[key] == value for group in optimizer.param_groups for key, value in changes.items()):
        return None
    for group in optimizer.param_groups:
        group.update(changes)
    return optimizer


def _scale_rate(factor: float) -> Change:
    def change(optimizer: Optimizer) -> Optimizer:
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor
        return optimizer

    return change


def rate_bugs(setup: Setup) -> Iterator[tuple[str, Setup | None]]:
    """Learning rates that are off by a factor."""
    for factor, text in RATES.items():
        yield f"learning rate {text}", setup.with_optimizer(_scale_rate(factor))


NUMBERS: dict[str, dict[str, Any]] = {
    "no momentum": {"momentum": 0.0},
    "Nesterov momentum": {"nesterov": True},
    "dampened momentum": {"dampening": 0.9},
    "no weight decay": {"weight_decay": 0.0},
    "weight decay of 0.01, which is AdamW's default": {"weight_decay": 0.01},
    "weight decay of 1e-4": {"weight_decay": 1e-4},
    "amsgrad": {"amsgrad": True},
    "epsilon of 1e-7, which is Keras's": {"eps": 1e-7},
    "epsilon of 1e-3": {"eps": 1e-3},
    "second beta of 0.99": {"betas": (0.9, 0.99)},
    "second beta of 0.95": {"betas": (0.9, 0.95)},
    "maximised instead of minimised": {"maximize": True},
}


def number_bugs(setup: Setup) -> Iterator[tuple[str, Setup | None]]:
    """Single numbers and switches of an optimizer."""

    def changed(changes: dict[str, Any]) -> Change:
        def change(optimizer: Optimizer) -> Optimizer | None:
            needs_momentum = changes.keys() & {"nesterov", "dampening"}
            if needs_momentum and not optimizer.defaults.get("momentum"):
                return None
            return _set(optimizer, **changes)

        return change

    for text, changes in NUMBERS.items():
        yield text, setup.with_optimizer(changed(changes))


FORMS = {
    "epsilon inside the root": "inside",
    "epsilon beside the uncorrected root, which is Keras's form": "uncorrected",
    "moments without correction of their start": "no correction",
}


def adam_bugs(setup: Setup) -> Iterator[tuple[str, Setup | None]]:
    """Other forms of Adam, and decay of the other kind."""

    for text, form in FORMS.items():
        yield text, setup.with_optimizer(other_adam(form))
    yield "weight decay coupled where it is decoupled, or the reverse", setup.with_optimizer(other_adam("", swap=True))


def partial_decay_bugs(setup: Setup) -> Iterator[tuple[str, Setup | None]]:
    """Weight decay that skips tensors of one dimension, or all others."""

    def skipping(one_dimensional: bool) -> Change:
        def change(optimizer: Optimizer) -> Optimizer | None:
            decay = optimizer.defaults.get("weight_decay", 0.0)
            if not decay:
                return None
            groups = [(group, parameter) for group in optimizer.param_groups for parameter in group["params"]]
            numbers = [
                {**group, "params": [parameter], "weight_decay": 0.0}
                if (parameter.ndim <= 1) == one_dimensional
                else {**group, "params": [parameter]}
                for group, parameter in groups
            ]
            optimizer.param_groups.clear()
            for group in numbers:
                optimizer.add_param_group(group)
            return optimizer

        return change

    yield "weight decay skips biases and norms", setup.with_optimizer(skipping(True))
    yield "weight decay skips all but biases and norms", setup.with_optimizer(skipping(False))


def frozen_bugs(setup: Setup) -> Iterator[tuple[str, Setup | None]]:
    """Parameters that the optimizer is not given."""

    def without(skip: Callable[[torch.Tensor], bool]) -> Change:
        def change(optimizer: Optimizer) -> Optimizer | None:
            for group in optimizer.param_groups:
                group["params"] = [parameter for parameter in group["params"] if not skip(parameter)]
            return optimizer if any(group["params"] for group in optimizer.param_groups) else None

        return change

    yield "biases and norms do not move", setup.with_optimizer(without(lambda parameter: parameter.ndim <= 1))


def momentum_form_bugs(setup: Setup) -> Iterator[tuple[str, Setup | None]]:
    """Gradient clipping, which several trainers have by default."""

    class Clipped(SGD):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            parameters = [parameter for group in self.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            super().step()

    def clip(optimizer: Optimizer) -> Optimizer | None:
        if type(optimizer) is not SGD:
            return None
        numbers = {key: optimizer.defaults[key] for key in ("lr", "momentum", "weight_decay", "nesterov", "dampening")}
        return Clipped([parameter for group in optimizer.param_groups for parameter in group["params"]], **numbers)

    yield "gradients clipped to norm 1", setup.with_optimizer(clip)


OPTIMIZER_BUGS = (rate_bugs, number_bugs, adam_bugs, partial_decay_bugs, frozen_bugs, momentum_form_bugs)
