"""record: make a reference from anybody's PyTorch model, its loss, its optimizer and some batches."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from core_torch.parity.adapters.recording.budget import hidden_by_rounding, measure_budget, only_rounding
from core_torch.parity.adapters.recording.checks import check_batches, check_finite, check_repeatable
from core_torch.parity.adapters.recording.kinks import steady_batches
from core_torch.parity.adapters.recording.known_bugs import with_known_bugs
from core_torch.parity.adapters.recording.setup import BuildOptimizer, Setup
from core_torch.parity.adapters.recording.variants import one_thread
from core_torch.parity.adapters.torch import Criterion, TorchCandidate
from core_torch.parity.recorded.parts import split_parts
from core_torch.parity.recorded.questions import Questions, Trace
from core_torch.parity.recorded.reference import Reference
from core_torch.parity.recorded.trees import Json, Tree
from core_torch.spec.errors import ConfigError

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
    # Two threads on a busy machine can cost ten times. What overflows in a bug is no warning about the model.
    with one_thread(), np.errstate(all="ignore"):
        return _record(Setup(model, loss, optimizer), batches, name=name, diagnose=diagnose)


def _record(setup: Setup, batches: Sequence[tuple[Tree, Tree]], *, name: str, diagnose: bool) -> Reference:
    questions = check_batches(setup, batches, name=name)
    check_repeatable(setup, questions, name=name)
    questions = _choose(setup, questions)
    parts = _parts(setup.model)
    truth = _ask(setup.candidate("float64"), questions, dtype="float64", name=name, parts=parts)
    check_finite(truth, name=name)
    buffers = tuple(key for key in questions.weights if f"gradient/{key}" not in _whole_names(truth))
    left_out = only_rounding(truth)
    budget = measure_budget(setup, questions, truth, parts=parts)
    left_out |= hidden_by_rounding(truth, budget, buffers=buffers, left_out=left_out, name=name)
    layers, description = _layer_order(truth), _describe(setup)
    reference = Reference(name, questions, truth, budget, buffers, parts, left_out, layers, description)
    if diagnose:
        reference = with_known_bugs(reference, setup)
    return replace(reference, truth=_smaller(truth))


def _choose(setup: Setup, questions: Questions) -> Questions:
    """Leave out batches at which a unit is about to flip; ask single steps where that is farthest."""
    candidate: TorchCandidate[nn.Module] = setup.candidate("float64")
    kept, steadiest = steady_batches(candidate, questions.weights, questions.batches)
    count = 1 if setup.moving > LARGE else MOST_STARTS
    batches = tuple(questions.batches[index] for index in kept)
    return Questions(questions.weights, batches, tuple(sorted(steadiest[:count])))


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


def _smaller(truth: Trace) -> Trace:
    """Keep a large truth in float32, whose own rounding is a hundredth of the limits."""
    if sum(value.size for value in truth.values()) <= LARGE_TRACE:
        return truth
    return {key: value.astype(np.float32) for key, value in truth.items()}


def _layer_order(truth: Trace) -> tuple[str, ...]:
    names = [key.removeprefix("activation/").removesuffix("@1") for key in truth if key.startswith("activation/")]
    return tuple(dict.fromkeys(name for name in names if "@" not in name))


def _describe(setup: Setup) -> dict[str, Json]:
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
