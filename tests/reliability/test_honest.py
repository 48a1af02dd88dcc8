"""The harness refuses or marks what is not what it seems; tests/benchmarks/test_runner.py has each case by itself."""

import multiprocessing
import os

import pytest

from benchmarks.ports.process import Worker
from benchmarks.ports.timed_port import Case
from benchmarks.suites import Suite, Training
from core_torch.files.splits import Split
from core_torch.parity.external import WorkerError
from core_torch.spec.recipe import Recipe
from tests.benchmarks.conftest import digits, write_port  # noqa: F401
from tests.benchmarks.test_runner import BATCH_SIZE, LATER_FAULTS, oracle, refusals, run_with, small, timed  # noqa: F401

ROUNDS = 2
EARLY_FAULTS = ("learns twice as fast", "skips an image", "dies", "dies when timed")


def test_a_framework_that_falls_back_to_the_processor_is_refused(digits: Split):  # noqa: F811
    environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    case = Case(framework="keras-jax", device="cuda")
    worker = Worker("keras-jax", module="benchmarks.ports.keras", device="cuda", environment=environment)
    with worker, pytest.raises(WorkerError, match="found cuda, but Keras on jax runs on cpu"):
        worker.prepare(case, digits, Recipe())


def burn() -> None:
    while True:
        pass


@pytest.fixture
def load():
    """Twice as many processes as there are cores, which only compute."""
    burning = [multiprocessing.get_context("spawn").Process(target=burn) for _ in range(2 * (os.cpu_count() or 1))]
    for process in burning:
        process.start()
    yield
    for process in burning:
        process.kill()
        process.join()


SUITE = Suite(training=(Training("shallow", BATCH_SIZE, images=3000),), blocks=6)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_every_fault_is_refused_every_time(monkeypatch, digits, small, tally):  # noqa: F811
    faults, slipped = (*LATER_FAULTS, *EARLY_FAULTS), []
    for fault in faults * ROUNDS:
        results = run_with(monkeypatch, digits, SUITE, {"core_torch": oracle(), "keras-jax": oracle(fault)})
        slipped += [fault] * ("keras-jax/lean" in timed(results) or not refusals(results))
    tally.add("contenders that are not honest", tried=len(faults) * ROUNDS, failed=len(slipped))
    assert slipped == []


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_on_a_loaded_machine_it_is_marked_and_equals_are_not_told_apart(monkeypatch, digits, small, load, tally):  # noqa: F811
    unmarked = claims = 0
    for _ in range(2 * ROUNDS):
        results = run_with(monkeypatch, digits, SUITE, {"core_torch": oracle(), "lightning": oracle()})
        (ratio,) = (row for row in results.ratios if row["clock"] == "cpu" and row["contender"] != row["baseline"])
        unmarked += not results.environment.get("busy")
        claims += not ratio["low"] <= 1 <= ratio["high"]
    tally.add("runs on a loaded machine", tried=2 * ROUNDS, failed=unmarked, baseline=f"{claims} claim a difference")
    assert unmarked == 0
    assert claims <= 1
