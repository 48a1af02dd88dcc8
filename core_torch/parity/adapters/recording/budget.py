"""Budget: how far legitimate runs stray from the truth, and what is lost in that."""

from contextlib import AbstractContextManager

import numpy as np
from torch import nn

from core_torch.parity.adapters.recording.other_adam import other_adam
from core_torch.parity.adapters.recording.setup import Setup
from core_torch.parity.adapters.recording.variants import (
    DRAWS,
    ORDERS,
    JitteredCandidate,
    ShuffledCandidate,
    backends,
    using,
)
from core_torch.parity.adapters.torch import TorchCandidate
from core_torch.parity.recorded.measures import group_keys, level_of, norm, relative_error
from core_torch.parity.recorded.parts import split_parts
from core_torch.parity.recorded.questions import Questions, Trace
from core_torch.parity.tolerances import FACTOR
from core_torch.spec.errors import ConfigError

ONLY_ROUNDING = 1e-9  # of the whole gradient's norm: below it a float64 gradient is itself rounding
SMALLEST_BUG = 0.01  # a learning rate off by this share must be told from rounding, with half the budget


def only_rounding(truth: Trace) -> dict[str, str]:
    """Find parameters whose gradient is zero but for rounding, a bias before a batch norm for instance."""
    groups = {group: keys for group, keys in group_keys(truth).items() if group.kind == "gradient"}
    sizes = {group: max(norm(truth[key]) for key in keys) for group, keys in groups.items()}
    whole = np.sqrt(sum(size**2 for size in sizes.values()))
    names = [group.name for group, size in sizes.items() if size < ONLY_ROUNDING * whole]
    reason = "its gradient is only rounding"
    kinds = ("gradient", "first", "update", "state/momentum", "state/first_moment", "state/second_moment")
    return {f"{kind}/{found}": reason for found in names for kind in kinds}


def measure_budget(
    setup: Setup, questions: Questions, truth: Trace, *, parts: dict[str, list[str]]
) -> dict[str, float]:
    """{group: the worst relative error of runs that differ legitimately}."""
    groups = group_keys(truth)
    budget = dict.fromkeys((group.key for group in groups), 0.0)
    runs: list[tuple[TorchCandidate[nn.Module], list[AbstractContextManager[object]]]] = []
    runs += [(setup.candidate("float32"), settings) for settings in backends().values()]
    for seed in range(1, ORDERS + 1):
        shuffled = setup.candidate("float32", kind=ShuffledCandidate)
        shuffled.seed = seed
        runs.append((shuffled, []))
    if (rounding := setup.with_optimizer(other_adam("float32"))) is not None:
        runs.append((rounding.candidate("float32"), []))
    for seed in range(1, DRAWS + 1):
        jittered = setup.candidate("float64", kind=JitteredCandidate)
        jittered.seed = seed
        runs.append((jittered, []))
    for candidate, settings in runs:
        dtype = "float64" if isinstance(candidate, JitteredCandidate) else "float32"
        with using(settings):
            found = split_parts(questions.ask(candidate, dtype=dtype), parts)
        for group, keys in groups.items():
            budget[group.key] = max(budget[group.key], relative_error(found, truth, keys))
    return budget


def hidden_by_rounding(
    truth: Trace, budget: dict[str, float], *, buffers: tuple[str, ...], left_out: dict[str, str], name: str
) -> dict[str, str]:
    """Leave out updates that rounding alone moves too far; refuse a model of which too little is left."""
    found: dict[str, str] = {}
    groups = [group for group in group_keys(truth) if level_of(group, buffers=buffers) == "one update"]
    asked = [group for group in groups if group.key not in left_out]
    for group in asked:
        if FACTOR * budget[group.key] / 2 > SMALLEST_BUG:
            found[group.key] = f"rounding alone moves it by {budget[group.key]:.1%}"
    if len(found) > len(asked) / 2 or not asked:
        worst = max(asked, key=lambda group: budget[group.key], default=None)
        text = f"{worst.key}: rounding alone moves it by {budget[worst.key]:.1%}" if worst else "no parameter is left"
        raise ConfigError(f"{name}: is ill-posed, a learning rate off by 1 % could not be seen ({text})")
    return found
