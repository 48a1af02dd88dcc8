"""The judge's power: every known bug is rejected and named, and no right port is."""

from functools import cache

import numpy as np
import pytest

from core_torch.parity.bugs.catalogue import BUGS, Bug
from core_torch.parity.diagnosis import explain
from core_torch.parity.golden_traces import SLIM, golden_judges
from core_torch.parity.judge import Judge, agree, check_well_posed
from core_torch.parity.matrix import Cell, Judges
from core_torch.parity.mutants import NOWHERE, SURVIVES, cells_of, mutation_table, verdict
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.parity.tolerances import LEVEL_NAMES
from core_torch.parity.trace import record_trace
from core_torch.spec.errors import ConfigError
from core_torch.spec.layers import Convolution, Dense, Layer, TransposedConvolution

LEAST_BUGS = 25  # that every architecture is tried with
MOST_REFUSED = 5  # problems in a hundred that cannot be posed


@cache
def judges(seed: int = 0) -> Judges:
    return golden_judges(seed=seed)


def judge_for(bug: Bug, model: str) -> Judge | None:
    made = (judges().judge(cell) for cell in cells_of(model))
    return next((judge for judge in made if bug.needs(judge.problem)), None)


@pytest.fixture(scope="module")
def table() -> dict[str, dict[str, str]]:
    return dict(mutation_table(judges()))


@pytest.mark.parametrize("name", BUGS)
def test_no_bug_survives_on_any_architecture(table, name):
    assert SURVIVES not in table[name].values()
    assert set(table[name].values()) != {NOWHERE}


@pytest.mark.parametrize("model", SLIM)
def test_every_architecture_is_tried_with_many_bugs(table, model):
    assert sum(row[model] != NOWHERE for row in table.values()) >= LEAST_BUGS


def test_every_level_but_the_last_is_the_weakest_for_some_bug(table):
    assert {level for row in table.values() for level in row.values()} >= set(LEVEL_NAMES) - {"losses"}


def test_a_judge_with_wide_tolerances_would_let_bugs_survive():
    bug, judge = BUGS["momentum off by a thousandth"], judges().judge(Cell(model="shallow"))
    lax = Judge(judge.problem, judge.truth, dict.fromkeys(judge.budget, 1.0))
    assert agree(lax.check(bug.candidate(judge.problem), "")) is False  # the ceilings hold
    found = record_trace(bug.candidate(judge.problem), judge.problem)
    assert all(check.passed for check in judge.verdict(found, "")[:-1])


@pytest.mark.parametrize("model", ["shallow", "randomized-deep", pytest.param("conv-deep", marks=pytest.mark.slow)])
def test_the_diagnosis_names_the_bug(model):
    named = {}
    for name, bug in BUGS.items():
        judge = judge_for(bug, model)
        if judge is None:
            continue
        found = record_trace(bug.candidate(judge.problem), judge.problem)
        failed = judge.verdict(found, "")[-1]
        if failed.level != "shapes":  # where nothing is computed; what is said of layouts is tested below
            named[name] = f"the numbers are those of this bug: {bug.says}" in explain(judge, found, failed)
    assert [name for name, is_named in named.items() if not is_named] == []
    assert len(named) > LEAST_BUGS


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
    lines = findings_for(BUGS["code activation"], cell=Cell(model="deep"))
    assert "the first layer that differs is encoder.3" in lines


def test_float32_inside_float64_is_named():
    class Single(Oracle):
        def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
            return super()._forward(name, layer, x).astype(np.float32).astype(np.float64)

    assert any("computes in float32" in line for line in findings_for(Bug("", oracle=Single), dtype="float64"))


def test_a_right_port_is_not_explained_by_any_bug():
    judge = judges().judge(Cell(model="shallow"))
    for name in BUGS:
        assert verdict(BUGS[name], [judge]) in (NOWHERE, *LEVEL_NAMES)
