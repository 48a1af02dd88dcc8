"""Questions: what a candidate is asked, in which order, and the trace of its answers.

weight/NAME@0        as handed back right after loading; parameters and buffers
activation/NAME@2    a layer's output, or `output`, in evaluation mode at the second batch
objective@2          the loss in training mode at the starting weights
gradient/NAME@2      of that loss
first/NAME@2         the change of a parameter or buffer by one step from the start with the second batch
loss@7               before the seventh of all steps
update/NAME@10       the change after the last step
state/KIND/NAME@10   the optimizer's, after the last step
final/output@1       after the last step, in evaluation mode: one sample (1), and two batches joined (2)
"""

from dataclasses import dataclass

import numpy as np

from core_torch.parity.candidate import Candidate
from core_torch.parity.recorded.trees import Arrays, Tree, cast_floats, first_sample, flatten, join_batches
from core_torch.spec.errors import ParityError

Trace = dict[str, np.ndarray]
SHOWN_BATCHES = 2  # batches at which activations are asked


@dataclass(frozen=True)
class Questions:
    """What every candidate is given.

    Attributes:
        weights: {name: array}, parameters and buffers at the start.
        batches: (inputs, targets) of each step; trees of arrays whose first axis is the sample.
        starts: indices of the batches at which a gradient and a single step from the start are asked.
    """

    weights: Arrays
    batches: tuple[tuple[Tree, Tree], ...]
    starts: tuple[int, ...] = (0,)

    def ask(self, candidate: Candidate, *, dtype: str = "float32") -> Trace:
        """Take a candidate through all questions.

        Raises:
            ParityError: an answer is not what the question asks for.
        """
        start = cast_floats(self.weights, dtype)
        batches = [(cast_floats(inputs, dtype), cast_floats(targets, dtype)) for inputs, targets in self.batches]
        trace: Trace = {}
        self._load(candidate, start)
        candidate.step(*_copy(batches[0]))
        self._load(candidate, start)  # must undo that step, the optimizer's state included
        _add(trace, "weight", candidate.weights(), step=0)
        for number, (inputs, _) in enumerate(batches[:SHOWN_BATCHES], 1):
            _add(trace, "activation", candidate.activations(_copy(inputs)), step=number)
        for number, batch in ((index + 1, batches[index]) for index in self.starts):
            loss, gradients = _pair(candidate.loss_and_gradients(*_copy(batch)))
            trace[f"objective@{number}"] = _numbers(f"objective@{number}", loss)
            _add(trace, "gradient", gradients, step=number)
        for number, batch in ((index + 1, batches[index]) for index in self.starts):
            self._load(candidate, start)
            candidate.step(*_copy(batch))
            _add(trace, "first", _change(candidate.weights(), start), step=number)
        self._load(candidate, start)
        for number, batch in enumerate(batches, 1):
            trace[f"loss@{number}"] = _numbers(f"loss@{number}", candidate.step(*_copy(batch)))
        last = len(batches)
        _add(trace, "update", _change(candidate.weights(), start), step=last)
        _add(trace, "state", candidate.optimizer_state(), step=last)
        for number, inputs in enumerate(self.other_sizes(), 1):
            outputs = candidate.activations(cast_floats(inputs, dtype))
            _add(trace, "final", {name: value for name, value in outputs.items() if is_output(name)}, step=number)
        return trace

    def other_sizes(self) -> list[Tree]:
        """Inputs of batch sizes that no step had: one sample, and two batches joined."""
        inputs = [inputs for inputs, _ in self.batches]
        return [first_sample(inputs[0]), join_batches(inputs[:2] if len(inputs) > 1 else inputs * 2)]

    @staticmethod
    def _load(candidate: Candidate, weights: Arrays) -> None:
        candidate.load({name: value.copy() for name, value in weights.items()})


def is_output(name: str) -> bool:
    """Say whether an activation is the model's output or a part of it."""
    return name == "output" or name.startswith("output.")


def _copy(tree: Tree) -> Tree:
    """Copy every array: a candidate may change what it is given."""
    if isinstance(tree, tuple):
        return tuple(_copy(branch) for branch in tree)
    return {key: _copy(branch) for key, branch in tree.items()} if isinstance(tree, dict) else tree.copy()


def _pair(answer: object) -> tuple[object, object]:
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise ParityError(f"loss_and_gradients: found {type(answer).__name__}, allowed: (loss, gradients)")
    return answer[0], answer[1]


def _change(after: object, before: Arrays) -> object:
    """Subtract in float64; an array that does not fit stays as it is, to be named by the level of shapes."""
    if not isinstance(after, dict):
        return after
    return {
        name: np.asarray(value, np.float64) - before[name]
        if name in before and np.shape(value) == before[name].shape
        else value
        for name, value in after.items()
    }


def _add(trace: Trace, kind: str, answers: object, *, step: int) -> None:
    if not isinstance(answers, dict):
        raise ParityError(f"{kind}: found {type(answers).__name__}, allowed: a dictionary of arrays")
    for name, value in answers.items():
        for key, leaf in flatten(value, name=f"{kind}/{name}").items():
            trace[f"{key}@{step}"] = _numbers(f"{key}@{step}", leaf)


def _numbers(key: str, value: object) -> np.ndarray:
    """Copy an answer, because a candidate may go on to change what it handed out."""
    if value is None:
        raise ParityError(f"{key}: found None, allowed: a number or an array; does the method return its result?")
    array = np.array(value)
    if array.dtype.kind not in "fiub":
        raise ParityError(f"{key}: found {array.dtype}, allowed: real numbers")
    return array
