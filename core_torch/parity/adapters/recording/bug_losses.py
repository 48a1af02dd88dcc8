"""Losses that are wrong in one way each."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from core_torch.parity.adapters.recording.setup import Setup
from core_torch.parity.adapters.torch import Criterion
from core_torch.parity.recorded.trees import Tensors


def _scaled(loss: Criterion, factor: Callable[[Tensors, Tensors], float]) -> Criterion:
    return lambda output, target: loss(output, target) * factor(output, target)


def _first(tree: Tensors) -> torch.Tensor:
    if isinstance(tree, dict):
        return _first(next(iter(tree.values())))
    return _first(tree[0]) if isinstance(tree, tuple | list) else tree


FACTORS: dict[str, Callable[[Tensors, Tensors], float]] = {
    "loss summed over samples instead of averaged": lambda output, target: len(_first(output)),
    "loss summed over all elements instead of averaged": lambda output, target: _first(output).numel(),
    "loss averaged over samples instead of summed": lambda output, target: 1 / len(_first(output)),
    "loss averaged over all elements instead of summed": lambda output, target: 1 / _first(output).numel(),
    "loss halved": lambda output, target: 0.5,
    "loss doubled": lambda output, target: 2.0,
    "sign of the loss turned": lambda output, target: -1.0,
}


def factor_bugs(setup: Setup) -> Iterator[tuple[str, Setup | None]]:
    """Losses that are off by a factor."""
    for text, factor in FACTORS.items():
        yield text, setup.changed(loss=_scaled(setup.loss, factor))


def cross_entropy_bugs(setup: Setup) -> Iterator[tuple[str, Setup | None]]:
    """Cross-entropy with smoothed labels, with padding that counts, and of probabilities instead of logits."""
    loss = setup.loss
    if loss is F.cross_entropy:
        loss = nn.CrossEntropyLoss()
    if not isinstance(loss, nn.CrossEntropyLoss):
        return
    settings: dict[str, Any] = {"weight": loss.weight, "ignore_index": loss.ignore_index, "reduction": loss.reduction}
    for smoothing in (0.1, 0.0):
        if smoothing != loss.label_smoothing:
            changed = nn.CrossEntropyLoss(**settings, label_smoothing=smoothing)
            yield f"label smoothing of {smoothing:g}", setup.changed(loss=changed)
    yield (
        "softmax before a loss that has its own",
        setup.changed(loss=lambda output, target: loss(output.softmax(1), target)),
    )
    if loss.ignore_index >= 0:
        counted = nn.CrossEntropyLoss(**settings | {"ignore_index": -100}, label_smoothing=loss.label_smoothing)
        yield "the ignored index counts", setup.changed(loss=counted)


LOSS_BUGS = (factor_bugs, cross_entropy_bugs)
