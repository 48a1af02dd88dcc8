"""The judge's power: every known bug is rejected and named, and no right port is."""

from functools import cache

import numpy as np
import pytest

from core_torch.parity.bugs.catalogue import BUGS, Bug
from core_torch.parity.bugs.edges import EDGE_BUGS, EVALUATION_BUGS
from core_torch.parity.diagnosis import explain
from core_torch.parity.golden_traces import SLIM, golden_judges
from core_torch.parity.judge import Judge, agree, check_well_posed
from core_torch.parity.matrix import Cell, Judges
from core_torch.parity.mutants import NOWHERE, SURVIVES, Mutant, cells_of, mutants_of, verdict
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.parity.right_ports.arithmetic import Backwards, Blocked, Sequential
from core_torch.parity.right_ports.port import NumpyPort, Way
from core_torch.parity.tolerances import LEVEL_NAMES
from core_torch.parity.trace import record_trace
from core_torch.spec.errors import ConfigError
from core_torch.spec.layers import Convolution, Dense, Layer, TransposedConvolution

LEAST_BUGS = 150  # kinds that are known
LEAST_HERE = 100  # that every architecture is tried with
MOST_REFUSED = 5  # problems in a hundred that cannot be posed
STRIDE = len(SLIM)  # of the bugs, so that each is tried on one architecture; the published table has all


@cache
def judges(seed: int = 0) -> Judges:
    return golden_judges(seed=seed)


def tried_on(model: str) -> dict[str, Bug]:
    return dict(list(BUGS.items())[list(SLIM).index(model) :: STRIDE])


def mutants_on(model: str, bugs: dict[str, Bug]) -> dict[str, Mutant]:
    found: dict[str, Mutant] = {}
    for judge in map(judges().judge, cells_of(model)):
        here = {name: bug for name, bug in bugs.items() if name not in found and bug.needs(judge.problem)}
        found |= mutants_of(judge, here)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("model", SLIM)
def test_no_bug_survives_or_is_taken_for_another(model):
    found = mutants_on(model, tried_on(model))
    assert found
    assert [name for name, mutant in found.items() if mutant.level == SURVIVES] == []
    assert [name for name, mutant in found.items() if name not in mutant.names] == []
    assert [(name, mutant.wrong) for name, mutant in found.items() if mutant.wrong] == []


@pytest.mark.parametrize("model", SLIM)
def test_a_sample_of_bugs_does_not_survive(model):
    for name, bug in dict(list(tried_on(model).items())[::3]).items():
        assert verdict(bug, [judges().judge(cell) for cell in cells_of(model)]) != SURVIVES, name


def test_every_architecture_has_a_place_for_many_bugs():
    assert len(BUGS) >= LEAST_BUGS
    for model in SLIM:
        problems = [judges().judge(cell).problem for cell in cells_of(model)]
        assert sum(any(map(bug.needs, problems)) for bug in BUGS.values()) >= LEAST_HERE


def test_a_judge_with_wide_tolerances_would_let_bugs_survive():
    bug, judge = BUGS["momentum off by a thousandth"], judges().judge(Cell(model="shallow"))
    lax = Judge(judge.problem, judge.truth, dict.fromkeys(judge.budget, 1.0))
    assert agree(lax.check(bug.candidate(judge.problem), "")) is False  # the ceilings hold
    found = record_trace(bug.candidate(judge.problem), judge.problem)
    assert all(check.passed for check in judge.verdict(found, "")[:-1])


# ---- Right ports --------------------------------------------------------------------------------------------------


class HalvesOracle(Oracle):
    """Even and odd inputs of every layer apart: the same sums, other roundings."""

    def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        if not isinstance(layer, (Dense, Convolution, TransposedConvolution)):
            return super()._forward(name, layer, x)
        even = np.zeros_like(x)
        even[:, ::2] = x[:, ::2]
        bias = super()._forward(name, layer, np.zeros_like(x))
        return super()._forward(name, layer, even) + (super()._forward(name, layer, x - even) - bias)


class OtherSummationOrder(OracleCandidate):
    oracle_class = HalvesOracle


class InPlace(OracleOptimizer):
    def descend(self, name: str, gradient: np.ndarray) -> None:
        before = self.oracle.weights[name]
        super().descend(name, gradient)
        before[...] = self.oracle.weights[name]
        self.oracle.weights[name] = before


class WeightsInPlace(OracleCandidate):
    """Hands out the arrays that it goes on to change."""

    optimizer_class = InPlace


RIGHT = (OracleCandidate, OtherSummationOrder, WeightsInPlace)


@pytest.mark.parametrize("model", SLIM)
@pytest.mark.parametrize("port", RIGHT)
def test_a_right_port_passes_every_level_everywhere(port, model):
    for cell in cells_of(model):
        judge = judges().judge(cell)
        checks = judge.check(port(judge.problem, dtype="float32"), "")
        assert [check.level for check in checks] == list(LEVEL_NAMES)
        assert agree(checks), checks[-1]


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("model", SLIM)
def test_a_right_port_passes_whatever_the_seed(model, seed):
    judge = judges(seed).judge(Cell(model=model))
    assert agree(judge.check(OtherSummationOrder(judge.problem, dtype="float32"), ""))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("hundred", range(10))
def test_a_right_port_passes_a_thousand_times(hundred):
    refused: list[int] = []
    for seed in range(100 * hundred, 100 * (hundred + 1)):
        model = list(SLIM)[seed % len(SLIM)]
        try:
            judge = golden_judges(seed=seed).judge(Cell(model=model))
        except ConfigError:  # training killed the model, and nobody is accused
            refused.append(seed)
            continue
        checks = judge.check(OtherSummationOrder(judge.problem, dtype="float32"), "")
        assert agree(checks), (seed, model, checks[-1])
    assert len(refused) <= MOST_REFUSED, refused


def test_a_problem_that_rounding_alone_decides_is_not_posed():
    judge = judges().judge(Cell(model="shallow"))
    check_well_posed(judge.problem, judge.budget)
    with pytest.raises(ConfigError, match="float32 rounding alone makes 9.0e-06 at the level gradients"):
        check_well_posed(judge.problem, judge.budget | {"gradients": 9e-6})
    with pytest.raises(ConfigError, match="nan at the level loss"):
        check_well_posed(judge.problem, judge.budget | {"loss": float("nan")})


# ---- What the diagnosis says besides ------------------------------------------------------------------------------


def findings_for(bug: Bug, *, dtype: str = "float32", cell: Cell = Cell(model="shallow")) -> list[str]:  # noqa: B008
    judge = judges().judge(cell)
    found = record_trace(bug.candidate(judge.problem, dtype=dtype), judge.problem, dtype=dtype)
    return explain(judge, found, judge.verdict(found, "", dtype=dtype)[-1], dtype=dtype)


def test_a_sum_for_a_mean_is_named_by_its_factor():
    assert any("the number of pixels" in line for line in findings_for(BUGS["sum over pixels"]))
    assert any("the batch size" in line for line in findings_for(BUGS["sum over the batch"]))


def test_a_transposed_parameter_is_named():
    assert "encoder.0.weight is equal after transposing" in findings_for(BUGS["weights handed out transposed"])


def test_the_first_layer_that_differs_is_named():
    lines = findings_for(BUGS["code activation linear"], cell=Cell(model="deep"))
    assert "the first layer that differs is encoder.3" in lines


def test_float32_inside_float64_is_named():
    class Single(Oracle):
        def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
            return super()._forward(name, layer, x).astype(np.float32).astype(np.float64)

    assert any("computes in float32" in line for line in findings_for(Bug("", oracle=Single), dtype="float64"))


def test_a_right_port_is_not_explained_by_any_bug():
    judge = judges().judge(Cell(model="shallow"))
    assert verdict(Bug(""), [judge]) == SURVIVES
    assert verdict(BUGS["AMSGrad"], [judge]) == NOWHERE
    assert verdict(BUGS["rate doubled"], [judge]) == "one update"


@pytest.mark.parametrize("order", [Sequential, Backwards, Blocked])
@pytest.mark.parametrize("model", SLIM)
def test_any_order_of_summation_is_right(order, model):
    for judge in map(judges().judge, cells_of(model)):
        problem = judge.problem
        port = NumpyPort(problem.architecture, problem.recipe, way=Way(arithmetic=order))
        assert agree(judge.check(port, "")), judge.check(port, "")[-1]


@pytest.mark.parametrize("name", [*EDGE_BUGS, *EVALUATION_BUGS])
def test_what_training_does_not_ask_is_asked(name):
    bug = {**EDGE_BUGS, **EVALUATION_BUGS}[name]
    levels = ("outputs", "edges", "outputs after training")
    models = [model for model in SLIM if bug.needs(judges().judge(Cell(model=model)).problem)]
    assert models
    for model in models:
        assert verdict(bug, [judges().judge(Cell(model=model))]) in levels
