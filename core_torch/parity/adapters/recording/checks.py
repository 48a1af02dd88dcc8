"""Refuse what cannot be recorded, by name and before it is."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from core_torch.parity.adapters.recording.setup import Setup
from core_torch.parity.adapters.torch import TorchCandidate
from core_torch.parity.candidate import Arrays
from core_torch.parity.recorded.measures import norm
from core_torch.parity.recorded.questions import Questions, Trace
from core_torch.parity.recorded.trees import Tree, flatten, map_leaves
from core_torch.spec.errors import ConfigError, check_integer


def check_batches(setup: Setup, batches: Sequence[tuple[Tree, Tree]], *, name: str) -> Questions:
    """Turn batches into arrays; `ConfigError` for what is no batch, and for a model without a gradient."""
    if isinstance(batches, str | bytes) or not isinstance(batches, Sequence) or not batches:
        raise ConfigError(f"{name}: batches: found {type(batches).__name__}, allowed: a list of (inputs, targets)")
    whole = []
    for number, batch in enumerate(batches):
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ConfigError(f"{name}: batch {number}: found {type(batch).__name__}, allowed: (inputs, targets)")
        inputs, targets = (map_leaves(partial(_to_array, name=f"{name}: batch {number}"), tree) for tree in batch)
        counts = {len(leaf) if leaf.ndim else 0 for leaf in flatten(inputs, name="inputs").values()}
        if len(counts) != 1 or counts == {0}:
            raise ConfigError(f"{name}: batch {number}: found {sorted(counts)} samples, allowed: one number, 1 or more")
        whole.append((inputs, targets))
    check_integer(f"{name}: parameters with a gradient", setup.moving, minimum=1)
    weights: Arrays = setup.candidate("float32").weights()
    return Questions(weights, tuple(whole))


def _to_array(value: object, *, name: str) -> np.ndarray:
    array = value.detach().cpu().numpy() if torch.is_tensor(value) else np.asarray(value)
    flatten(array, name=name)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def check_repeatable(setup: Setup, questions: Questions, *, name: str) -> None:
    """Refuse a model whose loss depends on random numbers, and a loss that is no scalar."""
    losses = []
    for seed in (0, 1):
        candidate: TorchCandidate[nn.Module] = setup.candidate("float64")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            inputs, targets = questions.batches[0]
            try:
                loss = candidate.loss(inputs, targets)
            except Exception as error:
                line = " ".join(str(error).split())
                raise ConfigError(f"{name}: the model or its loss raised {type(error).__name__}: {line}") from error
        if not torch.is_tensor(loss) or loss.numel() != 1:
            found = tuple(loss.shape) if torch.is_tensor(loss) else type(loss).__name__
            raise ConfigError(f"{name}: loss: found {found}, allowed: a tensor with one number")
        if not loss.requires_grad:
            raise ConfigError(
                f"{name}: loss: found one without a gradient, allowed: one that depends on the parameters"
            )
        losses.append(loss.item())
    if losses[0] != losses[1] and np.isfinite(losses).all():
        layers = [
            key for key, layer in setup.model.named_modules() if getattr(layer, "p", 0) and "Drop" in str(type(layer))
        ]
        where = ", ".join(layers) or "a layer that draws random numbers"
        raise ConfigError(f"{name}: found random numbers in training ({where}), allowed: p=0, or noise as an input")


def check_finite(truth: Trace, *, name: str) -> None:
    """Refuse a truth with values that are not finite, and one without any gradient."""
    for key, value in truth.items():
        if not np.isfinite(value).all():
            raise ConfigError(f"{name}: {key}: found a value that is not finite in the float64 truth")
    if not any(norm(value) for key, value in truth.items() if key.startswith("gradient/")):
        raise ConfigError(f"{name}: gradients: found zeros only, allowed: a model that can be trained on these batches")
