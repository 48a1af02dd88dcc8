"""The ports' table: each port trains what the reference trains, and the test of equivalence can say no."""

import os
from itertools import product

import numpy as np
import pytest

from benchmarks.papers import ports, runs
from benchmarks.papers.equivalence import Equivalence, equivalence_p_value, sign_flip_p_value
from benchmarks.papers.page import markdown
from benchmarks.papers.ports import BACKENDS, CASES, CORE, LIGHTNING, TABLE, Case, row_name, run_port
from benchmarks.papers.runs import Run
from core_torch.files.splits import Split, load_split
from core_torch.spec.errors import ConfigError

SHORT = Case(model="shallow", epochs=1)


class Digits:
    """The embedded digits in the place of MNIST."""

    root, device = None, "cpu"
    test: Split = load_split("digits", train=False)


def trained(port: str, *, seed: int = 2) -> float:
    return run_port(Digits(), seed, port=port, case=SHORT, wanted=SHORT.wanted, dataset="digits")["test MSE"]


@pytest.fixture(scope="module")
def reference() -> float:
    return trained(CORE)


def test_lightning_gives_the_reference_s_figure_to_the_bit(reference):
    assert trained(LIGHTNING) == reference
    assert trained(LIGHTNING, seed=3) != reference


@pytest.mark.slow
@pytest.mark.parametrize("port", ["Keras on JAX", "Keras on PyTorch"])
def test_keras_gives_it_to_rounding(port, reference):
    assert trained(port) == pytest.approx(reference, rel=1e-5)


def test_a_seed_is_farther_off_than_rounding(reference):
    assert trained(CORE, seed=3) != pytest.approx(reference, rel=1e-5)


@pytest.mark.parametrize("change", ["--seed=5", "--epochs=2", "--code-activation=sigmoid"])
def test_a_port_that_trains_something_else_is_refused(change, monkeypatch):
    whole = ports.command
    monkeypatch.setattr(ports, "command", lambda *words, **options: [*whole(*words, **options), change])
    with pytest.raises(ConfigError, match="trained another model, or by another recipe"):
        trained(CORE)


def test_a_port_that_fails_says_why():
    with pytest.raises(ConfigError, match=r"core_torch: -m core_torch train .* ended with 2: .*did you mean shallow"):
        run_port(Digits(), 2, port=CORE, case=Case(model="shalow"), wanted=SHORT.wanted, dataset="digits")


def test_every_port_is_compared_with_the_reference_over_ten_seeds_or_more():
    assert min(row.seeds for row in TABLE.rows) >= 10
    compared = {(claim.row, claim.reference) for claim in TABLE.equivalences}
    assert compared == {
        (row_name(port, case), row_name(CORE, case)) for port, case in product((LIGHTNING, *BACKENDS), CASES)
    }
    assert {name for pair in compared for name in pair} == {row.name for row in TABLE.rows}


def test_the_sign_flip_p_value_counts_the_signs():
    assert sign_flip_p_value([-1.0] * 10) == 2**-10
    assert sign_flip_p_value([1.0] * 10) == 1
    assert sign_flip_p_value([-3.0, 1.0]) == 2 / 4  # of -4, -2, 2, 4 two are at most -2


def test_no_value_is_left_out_however_many_there_are():
    assert sign_flip_p_value([-1.0] * 20) < 1e-3
    assert sign_flip_p_value([-1.0] * 16 + [100.0] * 4) > 0.9


def test_its_level_is_what_it_says_and_it_finds_what_is_there():
    """Of pairs that differ by the margin itself one in twenty is called equivalent; without a difference, most."""
    generator = np.random.default_rng(0)
    called = {}
    for shift in (0.0, 0.01, 0.02):
        samples = generator.normal(shift, 0.005, (300, 10))
        called[shift] = np.mean([equivalence_p_value(sample, margin=0.01) <= 0.05 for sample in samples])
    assert called[0.0] > 0.9
    assert called[0.01] < 0.1
    assert called[0.02] == 0


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ([1.0] * 10, "0, the same figures to the bit, over 10 seeds"),
        ([1.0001] * 9 + [0.9999], "p = 0.00098, the least that so few pairs allow, equivalent"),
        ([1.02] * 10, "p = 1, not proved equivalent"),
        ([1.0001] * 9, "over 9 seeds: too few to test"),
        ([1.0001] * 9 + [1.02], "not proved equivalent"),  # one that went astray, which the tests alone let pass
    ],
)
def test_what_is_told_of_pairs(factors, said):
    claim = Equivalence("error", "port", "reference", 0.01)
    pairs = [{"port": 0.2 * factor, "reference": 0.2} for factor in factors]
    assert said in claim.told(pairs)


def test_the_page_pairs_equal_seeds_and_leaves_out_the_others():
    rows = [row_name(port, CASES[0]) for port in (LIGHTNING, CORE)]
    errors = {0: 0.1, 1: 0.2, 2: 0.3}
    stored = [
        Run("ports", row, seed, "abc123", TABLE.row(row).settings, 1.0, {"test MSE": error})
        for row in rows
        for seed, error in errors.items()
    ]
    environment = {"cpu": "a cpu", "versions": {}}
    assert f"{rows[0]} less {rows[1]}: 0, the same figures to the bit, over 3 seeds" in markdown(stored, environment)
    assert "over 2 seeds" in markdown(stored[:-1], environment)


def test_the_processor_time_of_ended_children_counts(monkeypatch):
    monkeypatch.setattr(os, "times", lambda: (1.0, 0.5, 8.0, 0.25, 1e9))
    assert runs._processor_seconds() == 9.75
