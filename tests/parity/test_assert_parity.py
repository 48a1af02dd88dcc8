"""assert_parity: what it accepts, what it refuses, and what it says; its candidates may be anything."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core_torch.parity import (
    Judge,
    assert_parity,
    compare_traces,
    from_canonical,
    golden,
    record_trace,
    save_trace,
)
from core_torch.parity import __main__ as commands
from core_torch.parity.bugs.catalogue import BUGS, Bug
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.parity.trace_file import load_trace
from core_torch.spec.errors import ConfigError, DataFormatError, ParityError

NAME = "shallow-standard"
WORKER = [sys.executable, str(Path(__file__).with_name("worker_in_numpy.py"))]


@pytest.fixture(scope="module")
def judge() -> Judge:
    return golden(NAME)


def right(judge: Judge) -> OracleCandidate:
    return OracleCandidate(judge.problem, dtype="float32")


# ---- What passes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_a_right_candidate_passes_a_golden_trace(judge, steps):
    checks = assert_parity(NAME, right(judge), steps=steps)
    assert all(check.passed for check in checks)


def test_a_judge_and_a_problem_are_references_too(judge):
    assert assert_parity(judge, right(judge), steps=100)
    assert assert_parity(judge.problem.first(10), right(judge), steps=10)


def test_a_recorded_trace_is_a_candidate(judge, tmp_path):
    save_trace(tmp_path / "mine.npz", record_trace(right(judge), judge.problem.first(10)))
    assert assert_parity(NAME, load_trace(tmp_path / "mine.npz"), steps=10)
    wrong = record_trace(BUGS["rate doubled"].candidate(judge.problem), judge.problem.first(10))
    with pytest.raises(ParityError, match="one update"):
        assert_parity(NAME, wrong, steps=10)


def test_float64_is_held_to_float64(judge):
    assert assert_parity(NAME, OracleCandidate(judge.problem), dtype="float64")
    with pytest.raises(ParityError, match="float32"):
        assert_parity(NAME, right(judge), dtype="float64")


def test_a_worker_in_any_language_is_a_candidate():
    assert assert_parity(NAME, [*WORKER, "right"], steps=10)


def test_initial_weights_can_be_asked_for(judge):
    with pytest.raises(ParityError, match="weights"):
        assert_parity(NAME, BUGS["weights not loaded"].candidate(judge.problem), weights="initial")
    with pytest.raises(ConfigError, match="gradients"):
        assert_parity("conv-deep-standard", right(judge), weights="initial", levels=("outputs",))


def test_levels_can_be_chosen(judge):
    frozen = BUGS["encoder frozen"].candidate(judge.problem)
    assert len(assert_parity(NAME, frozen, levels=("shapes", "outputs", "loss"))) == 3
    with pytest.raises(ParityError):
        assert_parity(NAME, frozen, levels=("gradients",))


def test_tolerances_can_be_given(judge):
    doubled = BUGS["rate doubled"].candidate(judge.problem)
    later = ("one update", "trajectory", "losses", "outputs after training")
    assert assert_parity(NAME, doubled, tolerance=dict.fromkeys(later, 9))


@pytest.mark.parametrize("trace", [{"loss": 1.0}, {1: 2.0}, {"update/a@x": 1.0}, {"loss@1": np.array(["a"])}])
def test_what_is_not_a_trace_is_refused(trace):
    with pytest.raises(DataFormatError, match="trace: "):
        assert_parity(NAME, trace)


def test_traces_with_nothing_to_compare_do_not_agree():
    only = {"loss@1": np.array(1.0), "objective@1": np.array(1.0)}
    assert compare_traces(only, only, levels=("loss",))[-1].passed
    assert not compare_traces(only, only, levels=("loss", "gradients"))[-1].passed


def test_two_traces_are_compared_without_a_judge(judge):
    problem = judge.problem.first(10)
    mine, theirs = (record_trace(OracleCandidate(problem, dtype=dtype), problem) for dtype in ("float32", "float64"))
    assert all(check.passed for check in compare_traces(mine, theirs))
    mine["update/encoder.0.weight@1"] *= 2
    assert compare_traces(mine, theirs)[-1].level == "one update"


# ---- What is said -------------------------------------------------------------------------------------------------


def test_the_message_tells_where_how_much_and_why(judge):
    with pytest.raises(ParityError) as caught:
        assert_parity(NAME, BUGS["momentum after the rate"].candidate(judge.problem), steps=100)
    first, second, *findings = str(caught.value).splitlines()
    assert "disagrees at the level trajectory" in first
    assert "state/momentum@" in second
    assert "allowed" in second
    assert any("learning rate is inside the velocity" in line for line in findings)


def test_the_values_that_are_farthest_apart_are_shown(judge):
    class OnePixel(OracleCandidate):
        def activations(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
            found = super().activations(inputs)
            found["output"] = found["output"].copy()
            if len(inputs) == len(self.problem.batches[0]):
                found["output"][3, 4] = 7
            return found

    with pytest.raises(ParityError, match=r"output@1\[3, 4\]: found 7, expected 0"):
        assert_parity(NAME, OnePixel(judge.problem, dtype="float32"))


# ---- Bad input ----------------------------------------------------------------------------------------------------


class Bad(OracleCandidate):
    """Spoils what a method returns."""

    def __init__(self, judge: Judge, method: str, spoil: object) -> None:
        super().__init__(judge.problem, dtype="float32")
        setattr(self, method, lambda *arguments: spoil(getattr(OracleCandidate, method)(self, *arguments)))


def without(name: str):
    return lambda arrays: {key: value for key, value in arrays.items() if key != name}


def renamed(arrays: dict) -> dict:
    return {key.replace("encoder", "Encoder"): value for key, value in arrays.items()}


BAD = {
    "a missing tensor": ("weights", without("decoder.0.bias"), "shapes"),
    "a misnamed tensor": ("weights", renamed, "shapes"),
    "an extra tensor": ("weights", lambda w: w | {"x": np.ones(3)}, "shapes"),
    "a wrong shape": ("weights", lambda w: w | {"decoder.0.bias": np.ones((1, 49), np.float32)}, "shapes"),
    "an object array": ("weights", lambda w: w | {"decoder.0.bias": np.array([None, 1])}, "holds object"),
    "text": ("weights", lambda w: w | {"decoder.0.bias": np.array(["a"])}, "expected real numbers"),
    "a ragged list": ("weights", lambda w: w | {"decoder.0.bias": [[1], [1, 2]]}, "is not an array"),
    "complex numbers": ("weights", lambda w: w | {"decoder.0.bias": np.ones(49, complex)}, "expected real"),
    "no dictionary": ("weights", lambda w: list(w.values()), "expected a dictionary"),
    "nothing": ("activations", lambda a: None, "expected a dictionary"),
    "no output": ("activations", without("output"), "outputs"),
    "a NaN in the output": ("activations", lambda a: a | {"output": a["output"] * np.nan}, "outputs"),
    "an image too many": ("activations", lambda a: a | {"output": np.ones((13, 49))}, "outputs"),
    "a NaN loss": ("step", lambda loss: float("nan"), "loss"),
    "no loss": ("step", lambda loss: None, r"loss@1: step\(\) returned None"),
    "a loss for each image": ("step", lambda loss: np.ones(12), "loss"),
    "a missing gradient": ("loss_and_gradients", lambda r: (r[0], without("encoder.0.bias")(r[1])), "gradients"),
    "a NaN gradient": ("loss_and_gradients", lambda r: (r[0], {k: v * np.nan for k, v in r[1].items()}), "gradients"),
    "an extra gradient": ("loss_and_gradients", lambda r: (r[0], r[1] | {"x": np.ones(2)}), "gradients"),
    "a gradient misshapen": (
        "loss_and_gradients",
        lambda r: (r[0], r[1] | {"encoder.0.bias": np.ones((8, 1))}),
        "gradients",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_answer_is_named(judge, what):
    method, spoil, expected = BAD[what]
    with pytest.raises(ParityError, match=expected):
        assert_parity(NAME, Bad(judge, method, spoil))


def test_a_candidate_that_raises_is_named_with_its_reason(judge):
    class Raising(OracleCandidate):
        def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
            raise RuntimeError("out of memory")

    with pytest.raises(ParityError, match="RuntimeError: out of memory"):
        assert_parity(NAME, Raising(judge.problem))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"reference": "shallow"}, "golden: found 'shallow'"),
        ({"levels": ("gradient",)}, "did you mean gradients"),
        ({"steps": 7}, "steps: found 7, allowed: 1, 10, 100"),
        ({"dtype": "float16"}, "dtype: found 'float16'"),
        ({"candidate": "keras-tensorflw"}, "did you mean keras-tensorflow"),
        ({"weights": "random"}, "weights: found 'random'"),
        ({"levels": ()}, r"levels: found \(\)"),
        ({"levels": "outputs"}, "levels: found 'outputs'"),
        ({"steps": True}, "steps: found True"),
        ({"steps": 0}, "steps: found 0"),
        ({"tolerance": {"output": 1}}, "did you mean outputs"),
        ({"tolerance": {"outputs": float("nan")}}, "tolerance of outputs: found nan"),
        ({"tolerance": {}}, "tolerance: found {}"),
        ({"tolerance": 0.1}, "tolerance: found 0.1"),
    ],
)
def test_a_wrong_argument_is_named(judge, options, expected):
    arguments = {"reference": NAME, "candidate": right(judge)} | options
    with pytest.raises(ConfigError, match=expected):
        assert_parity(arguments.pop("reference"), arguments.pop("candidate"), **arguments)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("dies", "the process died .exit code 3"),
        ("garbage", "answered 'garbage'"),
        ("a list", r"answered '\[1\]'"),
        ("truncates", "not a safetensors file"),
        ("misnumbers", "answered the number 'much'"),
        ("refuses", "not today"),
    ],
)
def test_a_misbehaving_worker_is_named(mode, expected):
    with pytest.raises(ParityError, match=expected):
        assert_parity(NAME, [*WORKER, mode], timeout=60)


def test_a_hanging_worker_is_ended_with_its_children():
    before = sleepers()
    with pytest.raises(ParityError, match="no answer within 2 s"):
        assert_parity(NAME, [*WORKER, "hangs"], timeout=2)
    assert sleepers() == before


def sleepers() -> set[str]:
    found = subprocess.run(["pgrep", "-f", "^sleep 1000$"], capture_output=True, text=True, check=False)
    return set(found.stdout.split())


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (["/no/such/port"], "candidate: found '/no/such/port'"),
        (["keras-jx"], "did you mean keras-jax"),
        ([], "candidate: found"),
        ("", "candidate: found"),
        (None, "candidate: found None"),
    ],
)
def test_a_candidate_that_is_none_is_named(candidate, expected):
    with pytest.raises(ConfigError, match=expected):
        assert_parity(NAME, candidate)


@pytest.mark.parametrize("bug", ["momentum after the rate", "rate never changes", "short batch dropped"])
@pytest.mark.parametrize("name", ["shallow-standard", "conv-deep-contractive"])
def test_the_default_steps_are_enough_for_late_bugs(name, bug):
    with pytest.raises(ParityError, match="trajectory"):
        assert_parity(name, BUGS[bug].candidate(golden(name).problem))


def test_momentum_is_compared_where_it_is_shown(judge):
    class Halved(OracleCandidate):
        def optimizer_state(self) -> dict[str, np.ndarray]:
            return {name: value / 2 for name, value in super().optimizer_state().items()}

    with pytest.raises(ParityError, match="state/momentum@10"):
        assert_parity(NAME, Halved(judge.problem, dtype="float32"))


def test_loading_has_to_forget_the_momentum(judge):
    class Remembering(OracleCandidate):
        def load(self, weights: dict[str, np.ndarray]) -> None:
            kept = getattr(self, "optimizer", None)
            super().load(weights)
            if kept is not None:
                self.optimizer.state = kept.state

    with pytest.raises(ParityError, match="one update"):
        assert_parity(NAME, Remembering(judge.problem, dtype="float32"))


def test_the_loss_that_comes_with_the_gradients_counts(judge):
    with pytest.raises(ParityError, match="objective@1"):
        assert_parity(NAME, Bad(judge, "loss_and_gradients", lambda found: (123.0, found[1])))


def test_a_short_trace_does_not_pass_for_a_long_one(judge):
    short = record_trace(right(judge), judge.problem.first(10))
    assert assert_parity(NAME, short, steps=10)
    with pytest.raises(ParityError, match="trajectory"):
        assert_parity(NAME, short, steps=100)


def test_a_trajectory_names_the_first_step_and_the_tensor(judge):
    with pytest.raises(ParityError) as caught:
        assert_parity(NAME, BUGS["momentum forgotten"].candidate(judge.problem))
    assert "the first loss that differs is that before step 3" in str(caught.value)
    assert "the update that differs most is that of" in str(caught.value)


def test_a_candidate_may_change_what_it_is_given(judge):
    class InPlace(OracleCandidate):
        def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple:
            found = super().loss_and_gradients(inputs, targets)
            inputs *= 0
            return found

    assert assert_parity(NAME, InPlace(judge.problem, dtype="float32"))


def test_the_layout_of_keras_is_recognised():
    problem = golden("conv-deep-standard").problem

    class ChannelsLast(OracleCandidate):
        def weights(self) -> dict[str, np.ndarray]:
            return from_canonical(super().weights(), self.problem.architecture)

    with pytest.raises(ParityError, match="keep channels last; see to_canonical"):
        assert_parity("conv-deep-standard", ChannelsLast(problem, dtype="float32"))


@pytest.mark.filterwarnings("error")
def test_what_overflows_is_judged_and_not_warned_about(judge):
    class Exploding(OracleCandidate):
        def activations(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
            return {"output": np.full((len(inputs), 49), 1e300)}

    with pytest.raises(ParityError, match="outputs"):
        assert_parity(NAME, Exploding(judge.problem))


def test_the_bug_free_candidate_is_right(judge):
    assert assert_parity(judge, Bug("").candidate(judge.problem), steps=100)


@pytest.mark.parametrize(("name", "passed"), [(NAME, True), ("deep-standard", False)])
def test_the_command_writes_what_it_prints(name, passed, tmp_path, capsys):
    written = tmp_path / "printed.json"
    options = argparse.Namespace(
        golden=name, worker=[*WORKER, "works"], steps=1, dtype="float32", json=str(written), timeout=60
    )
    assert commands.check(options) == (not passed)
    assert json.loads(written.read_text())["passed"] is passed
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["check", "NAME", "CMD", "--steps", "10"], ["check", "--steps", "10", "NAME", "CMD"]),
        (["check", "NAME", "--steps=10", "CMD", "-c", "x"], ["check", "--steps=10", "NAME", "CMD", "-c", "x"]),
        (["check", "NAME", "CMD", "--", "--steps", "7"], ["check", "NAME", "CMD", "--steps", "7"]),
        (["check", "NAME", "--timeout", "9", "--", "CMD", "-x"], ["check", "--timeout", "9", "NAME", "CMD", "-x"]),
        (["mutants", "--json", "FILE"], ["mutants", "--json", "FILE"]),
    ],
)
def test_options_may_follow_the_name(words, expected):
    assert commands.options_first(words) == expected


# ---- Values that a relative measure divides by -------------------------------------------------------------------


@pytest.mark.parametrize("truth", [-3.0, 0.0])
def test_a_negative_loss_or_one_of_zero_is_compared(truth):
    right = {"loss@1": np.array(truth), "objective@1": np.array(truth)}
    wrong = {"loss@1": np.array(99.0), "objective@1": np.array(truth)}
    assert compare_traces(right, right, levels=("loss",))[-1].passed
    assert not compare_traces(wrong, right, levels=("loss",))[-1].passed
    assert not compare_traces({**right, "loss@1": np.array(-truth + 1e-3)}, right, levels=("loss",))[-1].passed


@pytest.mark.parametrize("shape", [(5,), (5, 2, 2), ()])
def test_outputs_of_any_shape_are_compared(shape):
    right = {"activation/output@1": np.ones(shape)}
    assert compare_traces(right, right, levels=("outputs",))[-1].passed
    assert not compare_traces({"activation/output@1": 2 * np.ones(shape)}, right, levels=("outputs",))[-1].passed


# ---- Names and rates ---------------------------------------------------------------------------------------------


def test_missing_and_unexpected_names_stand_apart(judge):
    with pytest.raises(ParityError, match=r"missing: encoder\.0\.weight.*; unexpected: Encoder\.0\.weight"):
        assert_parity(NAME, Bad(judge, "weights", renamed))
    spoil = BAD["an extra gradient"][1]
    with pytest.raises(ParityError, match="gradients: unexpected: x"):
        assert_parity(NAME, Bad(judge, "loss_and_gradients", spoil))


class OwnRate(OracleCandidate):
    """A port whose `load` leaves the learning rate alone, as README's does."""

    def __init__(self, judge: Judge, *, factor: float = 1.0) -> None:
        self.rate = factor * judge.problem.recipe.learning_rate
        super().__init__(judge.problem, dtype="float32")

    def load(self, weights: dict[str, np.ndarray]) -> None:
        super().load(weights)
        self.optimizer.learning_rate = self.rate

    def set_learning_rate(self, learning_rate: float) -> None:
        self.rate = self.optimizer.learning_rate = learning_rate


def test_a_port_can_be_checked_twice(judge):
    port = OwnRate(judge)
    assert assert_parity(NAME, port)
    assert assert_parity(NAME, port)


def test_a_rate_that_is_wrong_from_the_start_is_found(judge):
    with pytest.raises(ParityError, match="first@1"):
        assert_parity(NAME, OwnRate(judge, factor=1.1))
