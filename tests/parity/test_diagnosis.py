"""The diagnosis names a bug only if it computes every entry of the port: what is not known is said to be unknown."""

import numpy as np
import pytest

from core_torch.parity import assert_parity, golden, record_trace
from core_torch.parity.bugs.bug import Bug
from core_torch.parity.bugs.catalogue import BUGS
from core_torch.parity.diagnosis import explain
from core_torch.parity.golden_traces import golden_judges
from core_torch.parity.judge import Judge
from core_torch.parity.matrix import Cell
from core_torch.parity.mutants import mutants_of
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.spec.errors import ParityError

NAME = "shallow-standard"
KNOWN = "the numbers are those of"
UNKNOWN = "no known bug computes this"


@pytest.fixture(scope="module")
def judge() -> Judge:
    return golden(NAME)


class Port(OracleCandidate):
    """A right port in float32, to be broken."""

    def __init__(self) -> None:
        super().__init__(golden(NAME).problem, dtype="float32")


def said_of(port: object, *, steps: int = 100) -> str:
    with pytest.raises(ParityError) as caught:
        assert_parity(NAME, port, steps=steps)
    return str(caught.value)


class KeepsVelocity(Port):
    def load(self, weights: dict) -> None:
        before = getattr(self, "optimizer", None)
        super().load(weights)
        if before is not None:
            self.optimizer.state = before.state


class NeverSteps(Port):
    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        return self.loss_and_gradients(inputs, targets)[0]


class TenthOfTheRate(Port):
    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        loss, gradients = self.optimizer.gradients(inputs, targets)
        rate, self.optimizer.learning_rate = self.optimizer.learning_rate, self.optimizer.learning_rate / 10
        self.optimizer.apply(gradients)
        self.optimizer.learning_rate = rate
        return loss


class LeftOver(Port):
    left: dict = {}  # noqa: RUF012

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple:
        loss, self.left = self.optimizer.gradients(inputs, targets)
        return loss, self.left

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        loss, gradients = self.optimizer.gradients(inputs, targets)
        self.optimizer.apply({name: value + self.left.get(name, 0) for name, value in gradients.items()})
        self.left = {}
        return loss


class KerasState(Port):
    def optimizer_state(self) -> dict:
        return {name: -self.optimizer.learning_rate * value for name, value in super().optimizer_state().items()}


class ZeroState(Port):
    def optimizer_state(self) -> dict:
        return {name: 0 * value for name, value in super().optimizer_state().items()}


class AnotherState(Port):
    """Right training, and state that is none of the known mistakes."""

    def optimizer_state(self) -> dict:
        return {name: value**3 for name, value in super().optimizer_state().items()}


class Unheard(Port):
    """Train by something that nobody has thought of."""

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        loss, gradients = self.optimizer.gradients(inputs, targets)
        self.optimizer.apply({name: value * (1 + 0.3 * np.sin(value)) for name, value in gradients.items()})
        return loss


TRUE_NAMES = {
    KeepsVelocity: "momentum survives loading",
    NeverSteps: "step forgotten",
    TenthOfTheRate: "rate ten times too small",
    LeftOver: "gradients left over",
    KerasState: "velocity shown as Keras has it",
    ZeroState: "velocity shown as zero",
}


@pytest.mark.parametrize("steps", [10, 100])
@pytest.mark.parametrize("port", TRUE_NAMES)
def test_what_ports_really_do_is_named(port, steps):
    message = said_of(port(), steps=steps)
    assert f"{KNOWN} this bug: {BUGS[TRUE_NAMES[port]].says}" in message


@pytest.mark.parametrize("port", [AnotherState, Unheard])
def test_what_is_not_known_is_said_to_be_unknown(port):
    message = said_of(port())
    assert KNOWN not in message
    assert UNKNOWN in message
    assert "the first entry that differs is" in message


def test_several_bugs_that_compute_the_same_are_all_named(judge):
    message = said_of(BUGS["encoder frozen"].candidate(judge.problem))
    assert f"{KNOWN} one of these bugs: " in message
    assert BUGS["encoder frozen"].says in message
    assert BUGS["first layer frozen"].says in message


def test_a_later_entry_that_does_not_fit_refutes_a_bug(judge):
    """The twin: the same trace with one loss of step 90 changed is no longer that of the bug."""
    found = record_trace(BUGS["rate doubled"].candidate(judge.problem), judge.problem)
    failed = judge.verdict(found, "")[-1]
    assert any(line.endswith(BUGS["rate doubled"].says) for line in explain(judge, found, failed))
    found["loss@90"] = found["loss@90"] * 1.01
    lines = explain(judge, found, failed)
    assert not any(KNOWN in line for line in lines)
    assert any(UNKNOWN in line for line in lines)


def test_a_trace_that_is_right_as_far_as_it_goes_is_explained_by_no_bug(judge):
    short = record_trace(OracleCandidate(judge.problem, dtype="float32"), judge.problem.first(10))
    message = said_of(short)
    assert KNOWN not in message
    assert "the trace ends at step 10 of 100" in message


SAMPLE = ("flatten order", "mean pooling", "penalty of the whole model", "half precision", "rate decays slowly")


@pytest.mark.parametrize(
    "cell", [Cell(model="shallow"), Cell(model="conv-shallow"), Cell(model="deep", objective="contractive")]
)
def test_a_sample_of_bugs_is_rejected_and_named(cell):
    judge = golden_judges().judge(cell)
    planted = {name: BUGS[name] for name in SAMPLE if BUGS[name].needs(judge.problem)}
    others = {name: BUGS[name] for name in list(BUGS)[::7]}
    for name, mutant in mutants_of(judge, planted, planted | others).items():
        assert name in mutant.names
        assert mutant.wrong == ()


def test_a_bug_outside_the_table_is_named_by_nothing_else(judge):
    unheard = Bug("", spoils=lambda name, gradient: gradient * (1 + 0.2 * np.cos(1e3 * gradient)))
    (mutant,) = mutants_of(judge, {"unheard": unheard}).values()
    assert mutant.names == ()
