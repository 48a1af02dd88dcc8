"""record: make a reference from anybody's PyTorch model, its loss, its optimizer and some batches."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from core_torch.parity.adapters.recording.bugs import BUGS
from core_torch.parity.adapters.recording.kinks import steady_batches
from core_torch.parity.adapters.recording.other_adam import other_adam
from core_torch.parity.adapters.recording.setup import BuildOptimizer, Setup
from core_torch.parity.adapters.recording.variants import (
    DRAWS,
    ORDERS,
    JitteredCandidate,
    ShuffledCandidate,
    backends,
    one_thread,
    using,
)
from core_torch.parity.adapters.torch import Criterion, TorchCandidate
from core_torch.parity.candidate import Arrays
from core_torch.parity.recorded.fingerprints import Fingerprint
from core_torch.parity.recorded.measures import group_keys, level_of, norm, relative_error
from core_torch.parity.recorded.parts import split_parts
from core_torch.parity.recorded.questions import Questions, Trace
from core_torch.parity.recorded.reference import Reference
from core_torch.parity.recorded.trees import Tree, flatten, map_leaves
from core_torch.parity.recorded.verdict import FACTOR
from core_torch.spec.errors import ConfigError, check_integer

ONLY_ROUNDING = 1e-9  # of the whole gradient's norm: below it a float64 gradient is itself rounding
SMALLEST_BUG = 0.01  # a learning rate off by this share must be told from rounding, with half the budget
LARGE = 2_000_000  # parameters, above which gradients and single steps are asked at one batch
LARGE_TRACE = 20_000_000  # numbers, above which the truth is kept in float32
MOST_STARTS = 3  # batches at which gradients and single steps are asked
PACKED = {"in_proj_weight": ["query", "key", "value"], "in_proj_bias": ["query", "key", "value"]}
GATES: dict[type[nn.Module], list[str]] = {
    nn.LSTM: ["input gate", "forget gate", "cell", "output gate"],
    nn.GRU: ["reset gate", "update gate", "new gate"],
}


def record(
    model: nn.Module,
    *,
    loss: Criterion,
    optimizer: BuildOptimizer,
    batches: Sequence[tuple[Tree, Tree]],
    name: str,
    diagnose: bool = True,
) -> Reference:
    """Record what a model does: outputs, layers, losses, gradients, updates, buffers and optimizer state.

    The truth is the module in float64. The budget is the worst of several float32 runs that differ legitimately.

    Args:
        model: is copied and left as it is; its present weights are the start.
        loss: called as loss(output, target); returns a scalar.
        optimizer: called with the parameters, for instance `lambda parameters: torch.optim.SGD(parameters, 0.1)`.
        batches: (inputs, targets) of every step, as NumPy arrays, or tuples or dictionaries of them, with the samples
            along the first axis. Five to twenty small batches show most.
        name: of the reference, in messages.
        diagnose: also record what known bugs of such a model would answer.

    Raises:
        ConfigError: the model cannot be checked: no gradient, values that are not finite, a random layer, a loss that
            is no scalar, or a problem on which rounding hides a learning rate that is off by 1 %.

    Example:
        >>> import numpy as np, torch
        >>> from core_torch.parity import record
        >>> batch = (np.ones((4, 3), np.float32), np.ones((4, 2), np.float32))
        >>> sgd = lambda parameters: torch.optim.SGD(parameters, 0.1)
        >>> error = torch.nn.functional.mse_loss
        >>> reference = record(torch.nn.Linear(3, 2), loss=error, optimizer=sgd, batches=[batch] * 3, name="linear")
        >>> reference.name
        'linear'
    """
    with one_thread():  # two threads on a busy machine can cost ten times
        return _record(Setup(model, loss, optimizer), batches, name=name, diagnose=diagnose)


def _record(setup: Setup, batches: Sequence[tuple[Tree, Tree]], *, name: str, diagnose: bool) -> Reference:
    questions = _questions(setup, batches, name=name)
    _check_repeatable(setup, questions, name=name)
    questions = _choose(setup, questions)
    parts = _parts(setup.model)
    truth = _ask(setup.candidate("float64"), questions, dtype="float64", name=name, parts=parts)
    _check_finite(truth, name=name)
    buffers = tuple(key for key in questions.weights if f"gradient/{key}" not in _whole_names(truth))
    left_out = _only_rounding(truth, name=name)
    budget = _budget(setup, questions, truth, parts=parts)
    left_out |= _hidden_by_rounding(truth, budget, buffers=buffers, left_out=left_out, name=name)
    fingerprints = _fingerprints(setup, questions, truth, parts=parts) if diagnose else ()
    return Reference(
        name,
        questions,
        truth if _size(truth) <= LARGE_TRACE else {key: value.astype(np.float32) for key, value in truth.items()},
        budget,
        buffers,
        parts,
        left_out,
        _layer_order(truth),
        _describe(setup),
        fingerprints,
    )


def _questions(setup: Setup, batches: Sequence[tuple[Tree, Tree]], *, name: str) -> Questions:
    if isinstance(batches, str | bytes) or not isinstance(batches, Sequence) or not batches:
        raise ConfigError(f"{name}: batches: found {type(batches).__name__}, allowed: a list of (inputs, targets)")
    whole = []
    for number, batch in enumerate(batches):
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ConfigError(f"{name}: batch {number}: found {type(batch).__name__}, allowed: (inputs, targets)")
        inputs, targets = (map_leaves(_to_array, tree) for tree in batch)
        counts = {len(leaf) if leaf.ndim else 0 for leaf in flatten(inputs, name="inputs").values()}
        if len(counts) != 1 or counts == {0}:
            raise ConfigError(f"{name}: batch {number}: found {sorted(counts)} samples, allowed: one number, 1 or more")
        whole.append((inputs, targets))
    moving = sum(parameter.numel() for parameter in setup.model.parameters() if parameter.requires_grad)
    check_integer(f"{name}: parameters with a gradient", moving, minimum=1)
    weights: Arrays = setup.candidate("float32").weights()
    return Questions(weights, tuple(whole))


def _choose(setup: Setup, questions: Questions) -> Questions:
    """Leave out batches at which a unit is about to flip; ask single steps where that is farthest."""
    candidate: TorchCandidate[nn.Module] = setup.candidate("float64")
    kept, steadiest = steady_batches(candidate, questions.weights, questions.batches)
    moving = sum(parameter.numel() for parameter in setup.model.parameters() if parameter.requires_grad)
    count = 1 if moving > LARGE else MOST_STARTS
    batches = tuple(questions.batches[index] for index in kept)
    return Questions(questions.weights, batches, tuple(sorted(steadiest[:count])))


def _to_array(value: Any) -> np.ndarray:
    array = value.detach().cpu().numpy() if torch.is_tensor(value) else np.asarray(value)
    flatten(array, name="batch")
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _check_repeatable(setup: Setup, questions: Questions, *, name: str) -> None:
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


def _check_finite(truth: Trace, *, name: str) -> None:
    for key, value in truth.items():
        if not np.isfinite(value).all():
            raise ConfigError(f"{name}: {key}: found a value that is not finite in the float64 truth")
    if not any(norm(value) for key, value in truth.items() if key.startswith("gradient/")):
        raise ConfigError(f"{name}: gradients: found zeros only, allowed: a model that can be trained on these batches")


def _ask(
    candidate: TorchCandidate[nn.Module], questions: Questions, *, dtype: str, name: str, parts: dict[str, list[str]]
) -> Trace:
    try:
        return split_parts(questions.ask(candidate, dtype=dtype), parts)
    except ConfigError:
        raise
    except Exception as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"{name}: cannot be recorded ({type(error).__name__}: {line})") from error


def _parts(model: nn.Module) -> dict[str, list[str]]:
    """Packed parameters, and the names of their parts."""
    parts = {
        name: PACKED[name.rpartition(".")[2]] for name, _ in model.named_parameters() if name.endswith(tuple(PACKED))
    }
    for name, module in model.named_modules():
        for kind, gates in GATES.items():
            if isinstance(module, kind):
                prefix = f"{name}." if name else ""
                parts |= {f"{prefix}{key}": gates for key, _ in module.named_parameters() if "weight_hr" not in key}
    return parts


def _whole_names(truth: Trace) -> set[str]:
    """{gradient/NAME}, packed parameters by their whole names."""
    return {key.rpartition("@")[0].partition("[")[0] for key in truth if key.startswith("gradient/")}


def _only_rounding(truth: Trace, *, name: str) -> dict[str, str]:
    """Find parameters whose gradient is zero but for rounding, a bias before a batch norm for instance."""
    groups = {group: keys for group, keys in group_keys(truth).items() if group.kind == "gradient"}
    sizes = {group: max(norm(truth[key]) for key in keys) for group, keys in groups.items()}
    whole = np.sqrt(sum(size**2 for size in sizes.values()))
    names = [group.name for group, size in sizes.items() if size < ONLY_ROUNDING * whole]
    reason = "its gradient is only rounding"
    kinds = ("gradient", "first", "update", "state/momentum", "state/first_moment", "state/second_moment")
    return {f"{kind}/{found}": reason for found in names for kind in kinds}


def _budget(setup: Setup, questions: Questions, truth: Trace, *, parts: dict[str, list[str]]) -> dict[str, float]:
    """{group: the worst relative error of runs that differ legitimately}."""
    groups = group_keys(truth)
    budget = dict.fromkeys((group.key for group in groups), 0.0)
    runs: list[tuple[TorchCandidate[nn.Module], list[Any]]] = []
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


def _hidden_by_rounding(
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


def _fingerprints(
    setup: Setup, questions: Questions, truth: Trace, *, parts: dict[str, list[str]]
) -> tuple[Fingerprint, ...]:
    """What every bug that such a model can have would answer, in float64."""
    found = []
    for bug in BUGS:
        for label, build in bug(setup):
            try:
                trace, rounded = (
                    split_parts(questions.ask(build(dtype), dtype=dtype), parts) for dtype in ("float64", "float32")
                )
            except (RuntimeError, ValueError, LookupError, TypeError):
                continue  # the bug cannot be made in this model
            if any(trace[key].shape == truth[key].shape and norm(trace[key] - truth[key]) for key in truth):
                found.append(Fingerprint.of(label, trace, truth, rounded=rounded))
    return tuple(found)


def _size(trace: Trace) -> int:
    return sum(value.size for value in trace.values())


def _layer_order(truth: Trace) -> tuple[str, ...]:
    names = [key.removeprefix("activation/").removesuffix("@1") for key in truth if key.startswith("activation/")]
    return tuple(dict.fromkeys(name for name in names if "@" not in name))


def _describe(setup: Setup) -> dict[str, Any]:
    """What whoever writes the port must know, as JSON."""
    optimizer = setup.optimizer(copy.deepcopy(setup.model).parameters())
    numbers = {key: value for key, value in optimizer.defaults.items() if isinstance(value, int | float | bool | tuple)}
    kinds = {name: str(layer) for name, layer in setup.model.named_modules() if name and not any(layer.children())}
    return {
        "optimizer": type(optimizer).__name__,
        "optimizer_numbers": numbers,
        "loss": getattr(setup.loss, "__name__", type(setup.loss).__name__),
        "layers": kinds,
        "torch": torch.__version__,
    }
