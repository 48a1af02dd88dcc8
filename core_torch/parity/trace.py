"""Trace: what an implementation did with a problem, as a flat dictionary of NumPy arrays.

    first/encoder.0.weight@1      the change that the very first step makes, before anything else is asked
    weight/encoder.0.weight@0     as handed back right after loading
    activation/encoder.1@1        the output of a layer at the first batch; also activation/input, activation/output
    loss@3                        before the third step; objective@1 is the first by way of the gradients
    gradient/encoder.0.weight@1   at the first batch
    update/encoder.0.weight@10    the change since step 0
    state/momentum/encoder.0.weight@10
    batch/rows@3                  the row numbers of the third batch
    output/large@10               after step 10, of more images than any batch has; output/single of one
    probe/edge 1/output@0         at other weights: see `Problem.probes`; also /loss@0 and /gradient/NAME@0

Names and layouts are the reference's; steps count from 1.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

import numpy as np

from core_torch.parity.candidate import Arrays, Candidate
from core_torch.parity.problem import Probe, Problem, Step
from core_torch.spec.errors import DataFormatError, ParityError

Trace = dict[str, np.ndarray]
ENTRY = re.compile(r"(loss|objective)@\d+|(first|weight|activation|gradient|update|state|batch|output|probe)/.+@\d+")
KEPT_STEPS = (1, 10, 100)  # after which updates are kept, besides the last


def record_trace(
    candidate: Candidate, problem: Problem, *, dtype: str = "float32", steps: Iterable[Step] | None = None
) -> Trace:
    """Take a candidate through a problem, or through `steps` of it.

    Raises:
        ParityError: it returned something that is not an array of numbers.
    """
    trace: Trace = {}
    for answers in answers_of(candidate, problem, dtype=dtype, steps=steps):
        trace |= answers
    return trace


def answers_of(
    candidate: Candidate, problem: Problem, *, dtype: str = "float32", steps: Iterable[Step] | None = None
) -> Iterator[Trace]:
    """Ask question by question, and yield the entries of each; then leave the candidate as it was loaded first."""
    kind = np.dtype(dtype)
    start = {name: value.astype(kind) for name, value in problem.weights.items()}
    candidate.load(_copies(start))
    try:
        yield from _answers(candidate, problem, start, steps or problem.steps())
    finally:
        with suppress(Exception):  # it may have failed before
            _restart(candidate, problem, start)


def _answers(candidate: Candidate, problem: Problem, start: Arrays, steps: Iterable[Step]) -> Iterator[Trace]:
    kind = next(iter(start.values())).dtype
    number = 0
    for number, rows, exact_inputs, exact_targets in steps:
        inputs, targets = exact_inputs.astype(kind), exact_targets.astype(kind)
        yield {f"batch/rows@{number}": rows}
        if number == 1:
            yield from _first_answers(candidate, problem, start, inputs, targets)
        if number in problem.rates:
            candidate.set_learning_rate(problem.rates[number])
        yield {f"loss@{number}": _loss(f"loss@{number}", "step()", candidate.step(inputs.copy(), targets.copy()))}
        if number in KEPT_STEPS:
            yield from _progress(candidate, problem, start, step=number)
    if number and number not in KEPT_STEPS:
        yield from _progress(candidate, problem, start, step=number)


def _first_answers(
    candidate: Candidate, problem: Problem, start: Arrays, inputs: np.ndarray, targets: np.ndarray
) -> Iterator[Trace]:
    """A step at the candidate's own learning rate, undone by loading again; then all that needs no training."""
    candidate.step(inputs.copy(), targets.copy())
    yield _named("first", _change(_arrays("weight", 1, candidate.weights()), start), step=1)
    _restart(candidate, problem, start)
    yield _named("weight", candidate.weights(), step=0)
    yield _named("activation", candidate.activations(inputs.copy()), step=1)
    yield from other_outputs(candidate, problem, inputs.dtype, step=0)
    found = candidate.loss_and_gradients(inputs.copy(), targets.copy())
    if not isinstance(found, tuple) or len(found) != 2:
        raise ParityError(f"objective@1: loss_and_gradients() returned {_kind(found)}, expected a loss and gradients")
    yield {"objective@1": _loss("objective@1", "loss_and_gradients()", found[0])}
    yield _named("gradient", found[1], step=1)
    for probe in problem.probes:
        yield from probed(candidate, probe, inputs.dtype)
    if problem.probes:
        _restart(candidate, problem, start)


def probed(candidate: Candidate, probe: Probe, kind: np.dtype) -> Iterator[Trace]:
    """Load other weights, and ask for outputs, loss and gradients."""
    inputs, targets = probe.inputs.astype(kind), probe.targets.astype(kind)
    candidate.load({name: value.astype(kind) for name, value in probe.weights.items()})
    yield {f"probe/{probe.name}/output@0": _output(candidate, inputs.copy())}
    if not probe.outputs_only:
        loss, gradients = candidate.loss_and_gradients(inputs.copy(), targets.copy())
        yield {f"probe/{probe.name}/loss@0": _loss("probe", "loss_and_gradients()", loss)}
        yield _named(f"probe/{probe.name}/gradient", gradients, step=0)


def other_outputs(candidate: Candidate, problem: Problem, kind: np.dtype, *, step: int) -> Iterator[Trace]:
    """Ask for the outputs of batches of other sizes."""
    for name, inputs in problem.other_batches.items():
        yield {f"output/{name}@{step}": _output(candidate, inputs.astype(kind))}


def _output(candidate: Candidate, inputs: np.ndarray) -> np.ndarray:
    found = candidate.activations(inputs)
    if not isinstance(found, Mapping) or "output" not in found:
        raise ParityError("outputs: activations() returned no output, expected a dictionary that has it")
    return _numbers("output", found["output"])


def _restart(candidate: Candidate, problem: Problem, start: Arrays) -> None:
    """Load the weights, and set the learning rate that an earlier comparison may have changed."""
    candidate.load(_copies(start))
    candidate.set_learning_rate(problem.recipe.learning_rate)


def _progress(candidate: Candidate, problem: Problem, start: Arrays, *, step: int) -> Iterator[Trace]:
    yield _named("update", _change(_arrays("weight", step, candidate.weights()), start), step=step)
    yield _named("state", candidate.optimizer_state(), step=step)
    yield from other_outputs(candidate, problem, next(iter(start.values())).dtype, step=step)


def _copies(arrays: Arrays) -> Arrays:
    """Copy, because a candidate may change what it is given."""
    return {name: value.copy() for name, value in arrays.items()}


def _change(after: Mapping[str, np.ndarray], before: Arrays) -> Arrays:
    """Subtract in float64; hand on an array that does not fit as it is, to be named later."""
    return {
        name: value - before[name].astype(np.float64)
        if name in before and np.shape(value) == before[name].shape
        else value
        for name, value in after.items()
    }


def _named(kind: str, arrays: object, *, step: int) -> Trace:
    return {f"{kind}/{name}@{step}": value for name, value in _arrays(kind, step, arrays).items()}


def _arrays(kind: str, step: int, arrays: object) -> Arrays:
    if not isinstance(arrays, Mapping):
        raise ParityError(f"{kind}@{step}: found {_kind(arrays)}, expected a dictionary of arrays")
    return {name: _numbers(f"{kind}/{name}@{step}", value) for name, value in arrays.items()}


def _loss(key: str, method: str, value: object) -> np.ndarray:
    if value is None:
        raise ParityError(f"{key}: {method} returned None, expected the loss, a number")
    return _numbers(key, value)


def _numbers(key: str, value: object) -> np.ndarray:
    """Copy, because a candidate may go on to change what it handed out."""
    try:
        array = np.array(value)
    except ValueError as error:
        raise ParityError(f"{key}: is not an array ({error})") from error
    if array.dtype.kind not in "fiu":
        raise ParityError(f"{key}: holds {array.dtype}, expected real numbers")
    return array


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def check_trace(trace: Mapping[str, np.ndarray]) -> Trace:
    """Return the entries as arrays; `DataFormatError` for a name or a value that no trace has."""
    for key, value in trace.items():
        if not isinstance(key, str) or not ENTRY.fullmatch(key):
            raise DataFormatError(f"trace: found the entry {key!r}, allowed: KIND@STEP or KIND/NAME@STEP")
        if np.asarray(value).dtype.kind not in "fiu":
            raise DataFormatError(f"trace: {key} does not hold real numbers")
    return {key: np.asarray(value) for key, value in trace.items()}
