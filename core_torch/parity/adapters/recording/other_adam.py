"""Adam in other forms: those of bugs, and one that is right and rounds more."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch.optim import Adam, AdamW, Optimizer


class OtherAdam(Adam):
    """Adam whose denominator, correction, decay or precision is of another form.

    Args:
        form: `inside` puts epsilon inside the root; `uncorrected` divides by the root before it is corrected, as
            Keras's does, so that epsilon acts as eps / sqrt(1 - beta2^t); `no correction` corrects neither moment;
            `float32` computes 1 - beta^t in float32, as optax does.
        decoupled: decay weights apart from the gradient, as AdamW does.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], *, form: str, decoupled: bool, **numbers: Any) -> None:
        super().__init__(parameters, **numbers)
        self.form, self.decoupled = form, decoupled

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Kingma and Ba 2015, algorithm 1, but for the one change."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2), decay = self.state[parameter], group["betas"], group["weight_decay"]
        if not state:
            state |= {"step": 0, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
        state["step"] += 1
        if self.decoupled:
            parameter.mul_(1 - group["lr"] * decay)
        elif decay:
            gradient = gradient + decay * parameter
        first = state["exp_avg"].mul_(beta1).add_(gradient, alpha=1 - beta1)
        second = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        corrections = 1 - beta1 ** state["step"], 1 - beta2 ** state["step"]
        parameter.sub_(group["lr"] * self._direction(first, second, corrections, epsilon=group["eps"]))

    def _direction(
        self, first: torch.Tensor, second: torch.Tensor, corrections: tuple[float, float], *, epsilon: float
    ) -> torch.Tensor:
        mean, square = corrections
        match self.form:
            case "inside":
                return first / mean / torch.sqrt(second / square + epsilon)
            case "uncorrected":
                return first / mean * math.sqrt(square) / (second.sqrt() + epsilon)
            case "no correction":
                return first / (second.sqrt() + epsilon)
            case "float32":
                mean, square = float(1 - np.float32(1 - mean)), float(1 - np.float32(1 - square))
                return first / mean / ((second / square).sqrt() + epsilon)
            case _:
                return first / mean / ((second / square).sqrt() + epsilon)


def other_adam(form: str, *, swap: bool = False) -> Callable[[Optimizer], Optimizer | None]:
    """Make a change of an optimizer: Adam or AdamW in another form; none of any other optimizer.

    Args:
        swap: couple a decay that is decoupled, or the reverse.
    """

    def change(optimizer: Optimizer) -> Optimizer | None:
        is_decoupled = isinstance(optimizer, AdamW)
        if not isinstance(optimizer, Adam) or optimizer.defaults["amsgrad"] or len(optimizer.param_groups) > 1:
            return None
        if swap and not optimizer.defaults["weight_decay"]:
            return None
        numbers = {key: optimizer.defaults[key] for key in ("lr", "betas", "eps", "weight_decay")}
        parameters = optimizer.param_groups[0]["params"]
        return OtherAdam(parameters, form=form, decoupled=is_decoupled != swap, **numbers)

    return change
