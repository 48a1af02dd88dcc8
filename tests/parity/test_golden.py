"""The golden traces: made by one command, whole, alive, and off every kink."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core_torch.parity.alive import check_alive
from core_torch.parity.distance import distances
from core_torch.parity.golden_traces import FOLDER, GOLDEN, golden, golden_cell, golden_judges, write_goldens
from core_torch.parity.judge import Judge, agree
from core_torch.parity.kinks import distance_to_kinks
from core_torch.parity.norms import relative_distance
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.parity.tolerances import FACTOR, FLOOR_ROUNDINGS, ROUNDING
from core_torch.parity.trace import record_trace
from core_torch.spec.errors import ConfigError, DataFormatError
from core_torch.spec.layers import MaxPooling

SAME_TRUTH = 1e-9  # relative; float64 on another machine, over 100 steps
MOST_BYTES = 1_500_000


def test_there_are_six_architectures_trained_three_ways():
    assert len([name for name in GOLDEN if "adam" not in name]) == 18
    assert len([name for name in GOLDEN if "adam" in name]) == 12
    assert all(golden_.input_shape == golden_.architecture.input_shape for golden_ in GOLDEN.values())
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(GOLDEN)
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) < MOST_BYTES


@pytest.mark.parametrize("name", GOLDEN)
def test_the_stored_truth_is_what_the_oracle_computes(name):
    stored = golden(name)
    fresh = record_trace(OracleCandidate(stored.problem), stored.problem, dtype="float64")
    assert all(found.value <= SAME_TRUTH for found in distances(fresh, stored.truth).values())


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("goldens")
    assert len(list(write_goldens(folder))) == len(GOLDEN)
    return folder


@pytest.mark.parametrize("name", GOLDEN)
def test_the_script_makes_the_committed_files(remade, name):
    stored, fresh = golden(name), golden(name, folder=remade)
    assert relative_distance(fresh.problem.weights, stored.problem.weights) < 1e-6
    assert all(np.array_equal(*pair) for pair in zip(fresh.problem.batches, stored.problem.batches))
    assert distances(fresh.truth, stored.truth)["trajectory"].value < 1e-4
    assert alike(fresh.budget, stored.budget)


def alike(fresh: dict[str, float], stored: dict[str, float]) -> bool:
    """What rounding does depends on the machine, but not by orders of magnitude above the floor of a lucky run."""
    floor = FLOOR_ROUNDINGS * ROUNDING["float32"] / FACTOR
    return all(0.1 < max(floor, fresh[level]) / max(floor, value) < 10 for level, value in stored.items())


def test_a_budget_that_is_too_generous_or_too_narrow_would_be_found():
    budget = golden("shallow-standard").budget
    for level in ("gradients", "trajectory"):
        assert not alike(budget, budget | {level: 20 * budget[level]})
        assert not alike(budget | {level: 20 * budget[level]}, budget)


def test_other_digits_would_make_other_files():
    other = golden_judges(seed=1).judge(golden_cell("shallow-standard"))
    assert relative_distance(other.problem.weights, golden("shallow-standard").problem.weights) > 0.1


@pytest.mark.parametrize("name", GOLDEN)
def test_every_unit_has_a_gradient_and_every_weight_moves(name):
    judge = golden(name)
    check_alive(judge.problem, judge.truth)


@pytest.mark.parametrize(
    ("entry", "said"),
    [("update/encoder.0.weight@100", "never move"), ("gradient/encoder.0.weight@1", "have no gradient")],
)
def test_a_dead_unit_is_refused_by_name(entry, said):
    judge = golden("shallow-standard")
    dead = judge.truth[entry].copy()
    dead[3] = 0
    with pytest.raises(ConfigError, match=f"encoder.0.weight {said}"):
        check_alive(judge.problem, judge.truth | {entry: dead})


def test_a_problem_with_black_pixels_is_refused():
    judge = golden("shallow-standard")
    black = judge.problem.inputs.copy()
    black[:, 0] = 0
    problem = replace(judge.problem, inputs=black, batches=[], probes=())
    with pytest.raises(ConfigError, match="8 of 392 values of encoder.0.weight never move"):
        Judge.of(problem, steps=10, batch_size=12)


def test_a_pool_meets_odd_sides():
    sides = [record_sides(name) for name in ("conv-shallow-standard", "conv-deep-standard")]
    assert any(side % 2 for found in sides for side in found)


def record_sides(name: str) -> list[int]:
    problem = golden(name).problem
    record = Oracle(problem.architecture, problem.weights).activations(problem.inputs[:1])
    names = list(record)
    layers = Oracle(problem.architecture, problem.weights).layers
    pools = [name for name, layer in layers if isinstance(layer, MaxPooling)]
    return [record[names[names.index(name) - 1]].shape[-1] for name in pools]


@pytest.mark.parametrize("name", ["deep-standard", "conv-deep-denoising"])
def test_the_first_batch_is_farther_from_kinks_than_the_images_it_was_chosen_from(name):
    problem = golden(name).problem
    oracle = Oracle(problem.architecture, problem.weights)
    chosen = distance_to_kinks(oracle, problem.inputs[problem.batches[0]])
    assert chosen.min() > np.quantile(distance_to_kinks(oracle, problem.inputs), 0.5)


@pytest.mark.parametrize("name", GOLDEN)
def test_float32_stays_close_for_a_hundred_steps(name):
    judge = golden(name)
    assert agree(judge.check(OracleCandidate(judge.problem, dtype="float32"), ""))


def test_a_batch_at_a_kink_would_not():
    """The twin: with one image moved onto a ReLU's zero, float32 and float64 take different sides."""
    judge = golden("deep-standard")
    problem = judge.problem
    weights = {name: value.copy() for name, value in problem.weights.items()}
    image = problem.inputs[problem.batches[0][0]].astype(np.float64)
    margin = weights["encoder.0.weight"].astype(np.float64) @ image
    weights["encoder.0.bias"] = (-margin + 1e-9).astype(np.float32)
    oracle = Oracle(problem.architecture, weights)
    assert distance_to_kinks(oracle, problem.inputs[problem.batches[0]]).min() < 1e-6


def test_an_unknown_name_is_answered_with_a_suggestion():
    with pytest.raises(ConfigError, match="did you mean shallow-standard"):
        golden("shallow-standart")


def damaged(path: Path, kind: str) -> bytes:
    content = path.read_bytes()
    return {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "one bit": content[:900] + bytes([content[900] ^ 1]) + content[901:],
        "foreign": (FOLDER / "deep-standard.npz").read_bytes(),
        "text": b"not a trace\n",
    }[kind]


@pytest.mark.parametrize("kind", ["truncated", "empty", "one bit", "foreign", "text"])
def test_a_damaged_file_is_refused(tmp_path, kind):
    path = tmp_path / "shallow-standard.npz"
    path.write_bytes(damaged(FOLDER / path.name, kind))
    with pytest.raises(DataFormatError, match=r"shallow-standard\.npz"):
        golden("shallow-standard", folder=tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataFormatError, match="cannot be read"):
        golden("shallow-standard", folder=tmp_path)


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "shallow-standard.npz", weights=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataFormatError):
        golden("shallow-standard", folder=tmp_path)


def test_a_slim_file_is_not_taken_for_a_full_size_one():
    with pytest.raises(DataFormatError, match="size full"):
        golden("shallow-standard", size="full")


@pytest.mark.slow
def test_full_size_traces_are_made_on_demand(tmp_path):
    path = next(write_goldens(tmp_path, size="full"))
    judge = golden(path.stem, size="full", folder=tmp_path)
    assert judge.problem.weights["encoder.0.weight"].shape == (200, 784)
    assert agree(judge.check(OracleCandidate(judge.problem, dtype="float32"), ""))


def test_a_judge_carries_its_budget():
    assert isinstance(golden("shallow-standard"), Judge)
    assert golden("shallow-standard").budget["gradients"] > 0
