"""Right ports are right, by comparison with the oracle, and the judge refuses none of them; a wrong one it does."""

import json
from itertools import islice, product

import numpy as np
import pytest

from core_torch.parity.__main__ import build_parser, right_ports
from core_torch.parity.judge import Judge
from core_torch.parity.oracle.convolution import convolution, convolution_gradients
from core_torch.parity.right_ports import arithmetic, convolvers, fast_convolvers
from core_torch.parity.right_ports import kinds as right_kinds
from core_torch.parity.right_ports.fresh import fresh_judges
from core_torch.parity.right_ports.kinds import GROUPS, NUMPY_KINDS, Kind
from core_torch.parity.right_ports.port import Way
from core_torch.parity.right_ports.sweep import markdown, problems, sweep
from core_torch.parity.right_ports.updates import Update
from core_torch.spec.layers import Convolution

SUMS = [
    *(arithmetic.Pairwise, arithmetic.Sequential, arithmetic.Backwards, arithmetic.Tree, arithmetic.Blocked),
    *(arithmetic.Lanes, arithmetic.Einsum, arithmetic.Float64Sums, arithmetic.RowByRow),
]
CONVOLVERS = [
    *(convolvers.Im2col, convolvers.ChannelsLast, convolvers.Shifts, convolvers.Dilated, convolvers.PerImage),
    *(fast_convolvers.Fourier, fast_convolvers.Winograd),
]
LAYERS = [
    Convolution(2, 3, 3, 1, (1, 1)),
    Convolution(2, 3, 2, 1, (0, 1)),
    Convolution(2, 3, 5, 2, (1, 2)),
    Convolution(2, 3, 3, 2, (0, 1)),
    Convolution(2, 3, 4, 3, (0, 1)),
    Convolution(2, 3, 3, 1, (0, 0)),
]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def fresh(count: int) -> list[Judge]:
    return list(islice(fresh_judges(0), count))


# ---- They are right -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sums", SUMS)
@pytest.mark.parametrize("terms", [1, 7, 8, 33, 200])
def test_every_order_adds_all_terms(sums, terms):
    left, right = numbers(5, terms), numbers(terms, 4, seed=1)
    np.testing.assert_allclose(sums().product(left, right), left @ right, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sums().total(left), left.sum(axis=1), rtol=1e-12, atol=1e-12)


def test_orders_round_differently():
    left, right = numbers(5, 2000).astype(np.float32), numbers(2000, 4, seed=1).astype(np.float32)
    found = {sums().product(left, right).tobytes() for sums in SUMS}
    assert len(found) >= len(SUMS) - 1


@pytest.mark.parametrize(("convolver", "layer"), list(product(CONVOLVERS, LAYERS)))
def test_every_algorithm_computes_the_convolution(convolver, layer):
    made = convolver(arithmetic.Arithmetic())
    images, weight = numbers(2, 2, 9, 9), numbers(3, 2, layer.kernel, layer.kernel, seed=1)
    expected = convolution(images, weight, np.zeros(3), layer)
    found = made.correlate(images, weight, stride=layer.stride, padding=layer.padding)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    above = numbers(*expected.shape, seed=2)
    down, own = convolution_gradients(images, weight, above, layer)
    scattered = made.scatter(above, weight, stride=layer.stride, before=layer.padding[0], side=9)
    np.testing.assert_allclose(scattered, down, atol=1e-12)
    found = made.weights(images, above, kernel=layer.kernel, stride=layer.stride, padding=layer.padding)
    np.testing.assert_allclose(found, own, atol=1e-12)


# ---- The judge refuses none ---------------------------------------------------------------------------------------


def false_alarms(kinds: dict[str, Kind]) -> list[object]:
    rows = sweep(kinds, fresh(3))
    assert all(row.asked for row in rows.values())
    return [check for row in rows.values() for check in row.refused]


def test_numpy_kinds_cause_no_false_alarm():
    assert false_alarms(NUMPY_KINDS) == []


def test_there_are_thirty_kinds():
    assert sum(map(len, GROUPS.values())) >= 30


def test_fresh_problems_differ_and_come_again():
    names = [judge.problem.name for judge in fresh(6)]
    assert len(set(names)) == 6
    assert names == [judge.problem.name for judge in fresh(6)]
    again = [judge.truth["loss@3"] for judge in fresh(2)]
    assert again == [judge.truth["loss@3"] for judge in fresh(2)]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("group", GROUPS)
def test_no_kind_causes_a_false_alarm(group):
    rows = sweep(GROUPS[group], problems(2, seed=1000))
    assert [check for row in rows.values() for check in row.refused] == []


# ---- The sweep can fail -------------------------------------------------------------------------------------------


class SlightlyOff(Update):
    """A rate too large by a hundredth."""

    def set_rate(self, rate: float) -> None:
        super().set_rate(1.01 * rate)


WRONG = {"wrong": Kind(Way(update=SlightlyOff)), "right": Kind(Way())}


def test_a_wrong_port_is_counted():
    rows = sweep(WRONG, fresh(2))
    assert len(rows["wrong"].refused) == rows["wrong"].asked == 4
    assert not rows["right"].refused
    assert "2 kinds of right ports, 8 verdicts, 4 false alarms" in markdown(rows)


def test_a_kind_that_is_not_there_is_named():
    rows = sweep({"odd": Kind(Way(), needs="no_such_package")}, fresh(1))
    assert rows["odd"].asked == 0
    assert "not asked: no no_such_package" in markdown(rows)


@pytest.mark.parametrize(("kinds", "code"), [({"right": WRONG["right"]}, 0), (WRONG, 1)])
def test_the_command_prints_the_table_and_exits_with_1_on_a_false_alarm(kinds, code, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(right_kinds, "GROUPS", {"numpy": kinds})
    monkeypatch.setattr("core_torch.parity.right_ports.sweep.GOLDEN", {"shallow-standard": None})
    written = tmp_path / "rows.json"
    arguments = ["right-ports", "--problems", "1", "--kinds", "numpy", "--json", str(written)]
    assert right_ports(build_parser().parse_args(arguments)) == code
    assert "| right | 4 | 0 |" in capsys.readouterr().out
    rows = json.loads(written.read_text())
    assert rows["right"]["asked"] == 4
    assert bool(rows.get("wrong", {}).get("refused")) == bool(code)
