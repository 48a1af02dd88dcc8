"""A run from end to end: what agrees is timed, what does not is refused, and neither ends the run.

The frameworks are NumPy oracles with one fault each, but for one whole run of core_torch.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks.loaders import loading
from benchmarks.ports import frameworks
from benchmarks.ports.frameworks import Framework
from benchmarks.report.compare import compare
from benchmarks.report.reading import read_results
from benchmarks.report.results_file import Results
from benchmarks.runner import Runner
from benchmarks.suites import Loading, Suite, Training
from benchmarks.timing import clocks, floors
from core_torch.files.splits import Split
from core_torch.parity import problem
from core_torch.parity.matrix import Cell
from core_torch.parity.tolerances import LEVELS

ROOT = Path(__file__).parents[2]
BLOCKS = 2
BATCH_SIZE = 64
IMAGES = 600  # an epoch
FRESH, TRAINED = Cell(model="shallow", weights="initial"), Cell(model="shallow")
SHALLOW = Training("shallow", BATCH_SIZE, images=IMAGES)
PROVING = Suite(cells=(FRESH,))
TRAINING = Suite(cells=(FRESH, TRAINED), training=(SHALLOW,), blocks=BLOCKS)
LOADING = Suite(loading=(Loading(BATCH_SIZE, IMAGES, extras=False),), blocks=BLOCKS)
EVERYTHING = Suite((FRESH, TRAINED), (SHALLOW,), (Loading(BATCH_SIZE, IMAGES, extras=False),), BLOCKS)

TIMED = ("core_torch/lean", "core_torch/tutorial", "core_torch/by-hand")

ORACLE_PORT = """
import os
import time
import numpy as np
from benchmarks.ports.epoch_agreement import rows
from benchmarks.loaders.loading import LoadingTrial
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.parity.problem import Problem
from core_torch.spec.batch_order import batch_order
from core_torch.spec.initial_weights import initial_weights

FAULT = os.environ.get("FAULT")

class Trial(OracleCandidate):
    def __init__(self, case, split, recipe):
        weights, self.images = initial_weights(case.architecture), rows(split)
        problem = Problem("", case.architecture, recipe, weights, self.images, self.images)
        super().__init__(problem, dtype="float32")
        self.recipe, self.batch_size, self.epochs = recipe, case.batch_size, 0

    def set_learning_rate(self, learning_rate):
        super().set_learning_rate(learning_rate * (2 if FAULT == "learns twice as fast" else 1))

    def batches(self, epoch):
        order = batch_order(len(self.images), self.batch_size, seed=self.recipe.seed, epoch=epoch)
        return (self.images[batch] for batch in order)

    def epoch(self, epoch):
        self.epochs += 1
        if CLOCK_GOES_WRONG:
            compute(0.3)  # long beside the slack that a sound clock is given, however fast the processor
        if FAULT == "dies" or FAULT == "dies when timed" and self.epochs > 2:
            os._exit(1)
        if FAULT == "drifts when timed" and self.epochs > 2:
            self.recipe = self.recipe.with_changes(seed=1)
        for batch in self.batches(epoch):
            self.step(batch, batch)
        return len(self.images) - (FAULT == "skips an image")

def load(case, split):
    def batches(epoch):
        order = batch_order(len(split), case.batch_size, epoch=epoch, shuffle=case.variant != "unshuffled")
        return (rows(split.take(batch)) for batch in order)
    return LoadingTrial(batches, lambda epoch: sum(map(len, batches(epoch))))

def skew(clock, rate):
    sound = getattr(time, clock)
    setattr(time, clock, lambda: rate * sound())

CLOCK_GOES_WRONG = FAULT is not None and " goes " in FAULT
if CLOCK_GOES_WRONG:
    skew(FAULT.split(" ")[0], 5.0 if FAULT.endswith("fast") else 0.2)

def compute(seconds):
    "Use processor time, by a clock that no fault here touches."
    end = time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID) + seconds
    while time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID) < end:
        pass

def prepare(case, split, recipe):
    if FAULT == "has no memory":
        raise MemoryError
    if case.framework == "loading":
        return load(case, split)
    if FAULT == "cannot do shallow" and case.model == "shallow":
        os._exit(1)
    faster = {"learning_rate": 2 * recipe.learning_rate} if FAULT == "learns twice as fast" else {}
    return Trial(case, split, recipe.with_changes(**faster))
"""


def oracle(fault: str = "none") -> Framework:
    return Framework("oracle_port", {"lean": "a NumPy oracle"}, environment={"FAULT": fault})


@pytest.fixture
def small(write_port, monkeypatch) -> None:
    """The oracle as a framework, and `keep_small`."""
    write_port("oracle_port", ORACLE_PORT)
    keep_small(monkeypatch)


def keep_small(patch: pytest.MonkeyPatch) -> None:
    """Take a few steps for the 300 of training, and no floor that imports a framework."""
    patch.setattr(problem, "TRAINING_STEPS", 3)
    patch.setattr(floors, "OWN_GEMM", dict.fromkeys(floors.OWN_GEMM, "gemm numpy"))


def run_with(
    monkeypatch: pytest.MonkeyPatch,
    digits: Split,
    suite: Suite,
    programs: dict[str, Framework],
    *,
    asked: list[str] | None = None,
    saved: list[int] | None = None,
) -> Results:
    """What a run of `suite` finds; to `saved` goes the number of rows at every save."""
    monkeypatch.setattr(frameworks, "FRAMEWORKS", programs)
    results = Results([], {"cpu": "a cpu", "versions": {}}, "digits")

    def save() -> None:
        if saved is not None:
            saved.append(len(results.agreement) + len(results.measurements) + len(results.refused))

    names = list(programs) if asked is None else asked
    ignore: Any = lambda line: None  # noqa: E731
    Runner(results, digits, names=names, device="cpu", seed=0, log=ignore, save=save).run(suite)
    return results


def timed(results: Results) -> set[str]:
    return {row["contender"] for row in results.measurements}


def refusals(results: Results) -> list[str]:
    return [f"{row['case']}: {row['reason']}" for row in results.refused]


@pytest.fixture(scope="module")
def two_that_agree(tmp_path_factory, digits) -> tuple[Results, list[int]]:
    """The run that passes, once for all who ask of it; and the number of rows at every save."""
    folder, saved = tmp_path_factory.mktemp("two"), []
    (folder / "oracle_port.py").write_text(ORACLE_PORT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (folder, ROOT))))
        keep_small(patch)
        return run_with(patch, digits, TRAINING, {"core_torch": oracle(), "lightning": oracle()}, saved=saved), saved


def test_two_that_agree_are_timed(two_that_agree):
    results, saved = two_that_agree
    assert results.passed
    assert timed(results) == {"core_torch/lean", "lightning/lean"}
    assert len(results.measurements) == len(results.ratios) == 4
    assert [row["check"] for row in results.agreement if row["framework"] == "lightning/lean"] == [
        "one epoch",
        "one epoch, bit for bit",
    ]
    assert saved == sorted(saved)
    assert len(set(saved)) == 3


def test_a_time_names_the_checks_of_its_model_and_of_its_own_epoch_and_what_it_computed(two_that_agree):
    results, _ = two_that_agree
    checks = {row["id"]: (row["framework"], row["check"]) for row in results.agreement}
    levels = [level.name for level in LEVELS]
    for row in results.measurements:
        framework = row["contender"].partition("/")[0]
        proofs = [checks[proof] for proof in row["agreement"]]
        assert proofs[: len(levels)] == [(framework, level) for level in levels]
        assert (row["contender"], "one epoch") in proofs
    assert len({row["digest"] for row in results.measurements}) == 1


def test_a_model_that_no_cell_proved_is_proved_before_it_is_timed(monkeypatch, digits, small):
    suite = Suite(training=(SHALLOW,), blocks=BLOCKS)
    programs = {"core_torch": oracle(), "keras-jax": oracle("learns twice as fast")}
    results = run_with(monkeypatch, digits, suite, programs)
    assert timed(results) == {"core_torch/lean"}
    assert refusals(results)[0].endswith("keras-jax/lean: disagrees at: one update")


def test_the_floors_are_timed_in_the_same_blocks_and_every_contender_is_held_to_them(two_that_agree):
    results, _ = two_that_agree
    assert [(row["floor"], row["unit"].split()[0]) for row in results.floors] == [
        ("gemm numpy", "cpu"),
        ("gemm numpy", "wall"),
    ]
    (row,) = [row for row in results.floors if row["unit"].startswith("cpu")]
    samples = {row["contender"]: row["samples"] for row in results.measurements if row["unit"].startswith("cpu")}
    assert row["n"] == BLOCKS
    assert row["gigaflops"] > 0
    assert {times["contender"] for times in row["times"]} == samples.keys()
    for times in row["times"]:
        pairs = zip(samples[times["contender"]], row["samples"])
        assert times["median"] == pytest.approx(median(step / floor for step, floor in pairs))


def test_every_contender_is_profiled(two_that_agree):
    results, _ = two_that_agree
    assert [row["contender"] for row in results.profiles] == ["core_torch/lean", "lightning/lean"]
    for row in results.profiles:
        assert row["case"] == results.measurements[0]["case"]
        assert row["first_epoch_seconds"] > 0
        assert 0 < row["step_seconds_p50"] <= row["step_seconds_p95"]
        assert 0 < row["data_wait_fraction"] <= 1
        assert set(row["microseconds_per_image"]) == {"total", "step", "gemm", "data"}
        assert row["peak_host_bytes"] > 1e6
        assert row["settings"]["variables"]["OMP_NUM_THREADS"] == "1"


def test_a_port_that_disagrees_is_refused_and_the_others_are_timed(monkeypatch, digits, small):
    results = run_with(
        monkeypatch, digits, TRAINING, {"core_torch": oracle(), "keras-jax": oracle("learns twice as fast")}
    )
    assert not results.passed
    assert timed(results) == {"core_torch/lean"}
    assert refusals(results) == ["shallow standard, initial, keras-jax: disagrees at: one update"]


def test_nothing_is_timed_beside_a_baseline_that_disagrees(monkeypatch, digits, small):
    results = run_with(
        monkeypatch, digits, TRAINING, {"core_torch": oracle("learns twice as fast"), "keras-jax": oracle()}
    )
    assert timed(results) == set()
    assert refusals(results)[-1].endswith("its baseline core_torch/lean is not there")


def test_the_baseline_is_proved_even_if_it_was_not_asked_for(monkeypatch, digits, small):
    programs = {"core_torch": oracle(), "keras-jax": oracle()}
    results = run_with(monkeypatch, digits, TRAINING, programs, asked=["keras-jax"])
    assert {"core_torch", "keras-jax"} <= {row["framework"] for row in results.agreement}
    assert timed(results) == {"core_torch/lean", "keras-jax/lean"}
    results = run_with(monkeypatch, digits, PROVING, programs, asked=["keras-jax"])
    assert {row["framework"] for row in results.agreement} == {"keras-jax"}


def test_an_epoch_of_fewer_images_is_refused(monkeypatch, digits, small):
    results = run_with(monkeypatch, digits, TRAINING, {"core_torch": oracle(), "keras-jax": oracle("skips an image")})
    assert timed(results) == {"core_torch/lean"}
    assert refusals(results)[0].endswith("keras-jax/lean: disagrees at: same images, shuffled")


def test_a_process_that_dies_costs_only_its_own_case(monkeypatch, digits, small):
    results = run_with(monkeypatch, digits, TRAINING, {"core_torch": oracle(), "keras-jax": oracle("dies")})
    assert timed(results) == {"core_torch/lean"}
    assert "keras-jax/lean: keras-jax/lean: the process died (exit code 1" in refusals(results)[0]


def test_a_baseline_that_dies_does_not_end_the_run(monkeypatch, digits, small):
    results = run_with(monkeypatch, digits, TRAINING, {"core_torch": oracle("dies"), "lightning": oracle()})
    assert timed(results) == set()
    assert len(results.refused) == 2


def test_a_process_that_dies_while_it_is_timed_does_not_end_the_run(monkeypatch, digits, small):
    suite = Suite(training=(SHALLOW, Training("shallow", 32, images=IMAGES)), blocks=BLOCKS)
    results = run_with(monkeypatch, digits, suite, {"core_torch": oracle(), "keras-jax": oracle("dies when timed")})
    assert results.measurements == results.ratios == []
    assert len(results.refused) == 2
    assert all("keras-jax/lean: the process died" in line for line in refusals(results))


LATER_FAULTS = {  # what cannot be seen before it is timed, and what is said of it
    "drifts when timed": "once timed, it disagrees at: one epoch",
    "perf_counter goes slow": "its clocks told of",
    "process_time goes slow": "its clocks told of",
    "perf_counter goes fast": "its clock told of more time than had passed",
    "has no memory": "MemoryError",
}


@pytest.mark.parametrize("fault", LATER_FAULTS)
def test_a_contender_that_is_not_honest_when_timed_is_refused_and_the_others_are_not(monkeypatch, digits, small, fault):
    suite = Suite(training=(SHALLOW,), blocks=BLOCKS)
    results = run_with(monkeypatch, digits, suite, {"core_torch": oracle(), "keras-jax": oracle(fault)})
    assert timed(results) == {"core_torch/lean"}
    assert LATER_FAULTS[fault] in refusals(results)[0]
    assert not results.passed


def test_a_machine_that_others_use_meanwhile_is_marked_busy(monkeypatch, digits, small):
    for stolen, busy in ((-1.0, True), (1.0, None)):
        monkeypatch.setattr(clocks, "LARGEST_STOLEN", stolen)
        results = run_with(monkeypatch, digits, TRAINING, {"core_torch": oracle()})
        assert results.environment.get("busy") == busy


def test_a_process_that_died_on_one_model_is_started_anew_for_the_next(monkeypatch, digits, small):
    suite = Suite(cells=(FRESH, TRAINED, Cell(model="deep", weights="initial")))
    results = run_with(monkeypatch, digits, suite, {"keras-jax": oracle("cannot do shallow")})
    assert len(results.refused) == 1
    assert {row["case"] for row in results.agreement} == {"deep standard, initial"}
    assert all(row["passed"] for row in results.agreement)


def test_a_loader_that_does_not_shuffle_is_refused(monkeypatch, digits, small):
    monkeypatch.setattr(loading, "LOADERS", dict.fromkeys(("dataloader", "unshuffled"), oracle()))
    results = run_with(monkeypatch, digits, LOADING, {})
    assert timed(results) == {"dataloader"}
    assert refusals(results) == [f"loading, batch {BATCH_SIZE}, digits, unshuffled: 600 images were wrong"]


def test_data_are_repeated_or_cut_for_timing_and_the_name_says_so(monkeypatch, digits, small):
    monkeypatch.setattr(loading, "LOADERS", {"dataloader": oracle()})
    for images, said in ((1500, "digits repeated to 1,500"), (IMAGES, "digits"), (300, "digits cut to 300")):
        suite = Suite(loading=(Loading(BATCH_SIZE, images, extras=False),), blocks=1)
        (row, _) = run_with(monkeypatch, digits, suite, {}).measurements
        assert row["case"] == f"loading, batch {BATCH_SIZE}, {said}"


def run_command(patch: pytest.MonkeyPatch, digits: Split, *arguments: object) -> tuple[int, str]:
    """(exit code, standard output) of `python -m benchmarks run` on the small split."""
    patch.setattr(command, "load_split", lambda name, root: digits)
    patch.setattr(sys, "argv", ["benchmarks", *map(str, arguments)])
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(io.StringIO()), pytest.raises(SystemExit) as exited:
        command.main()
    return exited.value.code, output.getvalue()


def test_the_command_exits_with_0_if_all_agree(monkeypatch, digits, small, tmp_path):
    monkeypatch.setitem(frameworks.FRAMEWORKS, "core_torch", oracle())
    monkeypatch.setitem(command.SUITES, "quick", PROVING)
    arguments = ("--frameworks", "core_torch,core_torch", "--output", tmp_path / "out")
    code, printed = run_command(monkeypatch, digits, *arguments, "--json", tmp_path / "copy.json")
    assert code == 0
    count = len(LEVELS)
    assert printed.splitlines()[0] == f"agreement  shallow standard, initial: {count} of {count} checks passed"
    copy, original = (read_results(tmp_path / name) for name in ("copy.json", "out/results.json"))
    assert copy["agreement"] == original["agreement"]


@pytest.mark.parametrize(("error", "exit_code"), [(KeyboardInterrupt, 130), (MemoryError, None)])
def test_an_interrupted_run_keeps_what_it_found(monkeypatch, digits, small, tmp_path, error, exit_code):
    def interrupt(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(Runner, "time_training", interrupt)
    monkeypatch.setitem(frameworks.FRAMEWORKS, "core_torch", oracle())
    monkeypatch.setitem(command.SUITES, "quick", TRAINING)
    arguments = ("--frameworks", "core_torch", "--output", tmp_path / "out")
    if exit_code is None:
        with pytest.raises(error):
            command.run_suite(command.build_parser().parse_args(["run", *map(str, arguments)]))
    else:
        assert run_command(monkeypatch, digits, *arguments)[0] == exit_code
    content = read_results(tmp_path / "out" / "results.json")
    assert len(content["agreement"]) == 2 * len(LEVELS)
    assert content["measurements"] == []


KILLED = """
import os, signal, sys
from benchmarks import __main__ as command
from benchmarks.ports import frameworks
from core_torch.parity import problem
from benchmarks.runner import Runner
from tests_suite import SUITE, FRAMEWORK

problem.TRAINING_STEPS = 3
command.SUITES["quick"], frameworks.FRAMEWORKS["core_torch"] = SUITE, FRAMEWORK
number = int(sys.argv.pop())
Runner.time_training = lambda self, *rest: os.kill(os.getpid(), number)
command.main()
"""
SUITE = """
from benchmarks.ports.frameworks import Framework
from core_torch.parity.matrix import Cell
from benchmarks.suites import Suite, Training

SUITE = Suite(cells=(Cell(model="shallow", weights="initial"),), training=(Training("shallow"),))
FRAMEWORK = Framework("oracle_port", {"lean": "a NumPy oracle"})
"""


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_run_that_is_killed_half_way_leaves_a_result_that_can_be_read(write_port, tmp_path, sent, code):
    write_port("oracle_port", ORACLE_PORT)
    write_port("tests_suite", SUITE)
    command_line = ["run", "--frameworks", "core_torch", "--output", str(tmp_path / "out"), str(int(sent))]
    finished = subprocess.run(
        [sys.executable, "-c", KILLED, *command_line], capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == code, finished.stderr
    content = read_results(tmp_path / "out" / "results.json")
    assert len(content["agreement"]) == len(LEVELS)
    assert content["measurements"] == []
    assert (tmp_path / "out" / "report.html").read_text().endswith("</html>")


def test_a_run_is_verified_by_running_its_command_again(monkeypatch, digits, small, tmp_path):
    monkeypatch.setitem(frameworks.FRAMEWORKS, "core_torch", oracle())
    monkeypatch.setattr(loading, "LOADERS", {"dataloader": oracle(), "getitems": oracle()})
    monkeypatch.setitem(command.SUITES, "loading", LOADING)
    arguments = ("run", "--suite", "loading", "--frameworks", "core_torch", "--seed", "7", "--output", tmp_path / "a")
    assert run_command(monkeypatch, digits, *arguments)[0] == 0
    stored = tmp_path / "a" / "results.json"
    verify = ("verify", stored, "--threshold", "20", "--output")  # far above what a busy machine does to equals
    code, printed = run_command(monkeypatch, digits, *verify, tmp_path / "b")
    assert (code, printed.splitlines()[-1]) == (0, "confirmed")
    assert read_results(tmp_path / "b" / "results.json")["environment"]["seed"] == 7
    before = stored.read_bytes()
    code, _ = run_command(monkeypatch, digits, *verify, tmp_path / "a")
    assert (code, stored.read_bytes()) == (2, before)  # or it would be compared with itself
    claimed = json.loads(before) | {"floors": []}
    for own, other in zip(claimed["measurements"][1::2], claimed["measurements"][::2]):  # by both clocks
        own["samples"] = [100 * sample for sample in other["samples"]]
        own |= {name: 100 * other[name] for name in ("low", "median", "high")}
    for row in claimed["ratios"][1::2]:
        row |= {"low": 0.01, "median": 0.01, "high": 0.01}
    stored.write_text(json.dumps(claimed))
    code, printed = run_command(monkeypatch, digits, *verify, tmp_path / "b")
    assert (code, printed.splitlines()[-1]) == (1, "REJECTED")


@pytest.mark.parametrize(
    "stored",
    [
        "python -m benchmarks --help",
        "python -m benchmarks doctor",
        "python -m benchmarks run --dataset mnist",  # the file is of digits
        "rm -r / x",
    ],
)
def test_a_file_whose_command_is_no_run_cannot_be_verified(monkeypatch, digits, results, tmp_path, stored):
    results.command = stored.split()
    results.write(tmp_path / "results.json")
    code, printed = run_command(monkeypatch, digits, "verify", tmp_path / "results.json", "--output", tmp_path / "b")
    assert (code, printed) == (2, "")
    assert not (tmp_path / "b").exists()


def test_a_file_without_ratios_is_not_run_again(monkeypatch, digits, tmp_path):
    empty = Results(["python", "-m", "benchmarks", "--suite", "agreement"], {"cpu": "a cpu", "versions": {}}, "digits")
    empty.write(tmp_path / "results.json")
    code, printed = run_command(monkeypatch, digits, "verify", tmp_path / "results.json", "--output", tmp_path / "b")
    assert (code, printed) == (2, "")
    assert not (tmp_path / "b").exists()


# ---- One whole run of core_torch ---------------------------------------------------------------------------


@dataclass
class Finished:
    """A run of core_torch beside a port that disagrees and a loader that does not shuffle."""

    exit_code: int
    printed: str
    folder: Path

    @property
    def content(self) -> dict[str, Any]:
        return read_results(self.folder / "results.json")

    @property
    def page(self) -> str:
        return (self.folder / "report.html").read_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits) -> Finished:
    folder = tmp_path_factory.mktemp("run")
    (folder / "oracle_port.py").write_text(ORACLE_PORT)
    loaders = {name: loading.LOADERS[name] for name in ("dataloader", "fast-mnist-uint8")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (folder, ROOT))))
        patch.setitem(frameworks.FRAMEWORKS, "<broken>", oracle("learns twice as fast"))
        patch.setattr(floors, "OWN_GEMM", {"core_torch": "gemm torch"})
        patch.setattr(loading, "LOADERS", loaders | {"unshuffled": oracle()})
        patch.setitem(command.SUITES, "quick", EVERYTHING)
        patch.setattr(problem, "TRAINING_STEPS", 30)
        arguments = ("--frameworks", "core_torch,<broken>", "--device", "cpu", "--output", folder / "out")
        return Finished(*run_command(patch, digits, *arguments), folder / "out")


def test_a_run_with_a_refusal_exits_with_1(finished):
    assert finished.exit_code == 1


def test_core_torch_passes_every_level_on_both_sets_of_weights(finished):
    checks = [row for row in finished.content["agreement"] if row["framework"] == "core_torch"]
    assert [row["check"] for row in checks] == 2 * [level.name for level in LEVELS]
    assert all(row["passed"] for row in checks)


def test_its_epochs_and_its_loaders_are_proved_too(finished):
    passed = {(row["framework"], row["check"]): row["passed"] for row in finished.content["agreement"]}
    assert passed["core_torch/lean", "one epoch"]
    assert passed["core_torch/tutorial", "one epoch, own shuffle"]
    assert passed["fast-mnist-uint8", "same images, shuffled"]
    assert not passed["unshuffled", "same images, shuffled"]


def test_the_broken_port_is_not_timed(finished):
    content = finished.content
    checks = [row["check"] for row in content["agreement"] if row["framework"] == "<broken>"]
    assert checks[-1] == "one update"
    reasons = {row["reason"] for row in content["refused"]}
    assert reasons == {"disagrees at: one update", "600 images were wrong"}
    contenders = {row["contender"] for table in ("measurements", "ratios") for row in content[table]}
    assert contenders == {*TIMED, "dataloader", "fast-mnist-uint8"}


def test_raw_samples_are_kept_and_add_up(finished):
    measurements = finished.content["measurements"]
    units = {(row["contender"], row["unit"]) for row in measurements}
    assert len(units) == len(measurements) == 2 * (len(TIMED) + 2)
    for row in measurements:
        assert len(row["samples"]) == row["n"] == BLOCKS
        assert all(sample > 0 for sample in row["samples"])
        assert row["median"] == pytest.approx(median(row["samples"]))
        assert row["low"] <= row["median"] <= row["high"]


def test_every_ratio_is_that_of_its_pairs(finished):
    content = finished.content
    samples = {
        (row["case"], row["contender"], row["unit"].split()[0]): row["samples"] for row in content["measurements"]
    }
    assert len(content["ratios"]) == 2 * (len(TIMED) + 2)
    for row in content["ratios"]:
        of = samples[row["case"], row["contender"], row["clock"]]
        to = samples[row["case"], row["baseline"], row["clock"]]
        assert row["median"] == pytest.approx(median(slow / fast for slow, fast in zip(to, of)))
        assert row["pairs"] == BLOCKS
        if row["contender"] == row["baseline"]:
            assert (row["low"], row["median"], row["high"]) == (1, 1, 1)


def test_the_file_says_where_and_how_it_was_made(finished):
    content = finished.content
    assert content["command"][:3] == ["python", "-m", "benchmarks"]
    environment = content["environment"]
    assert {"cpu", "cores", "os", "python", "threads", "precision", "commit", "load"} <= set(environment)
    assert {"numpy", "torch"} <= set(environment["versions"])
    assert (environment["device"], environment["seed"]) == ("cpu", 0)


def test_a_run_is_as_fast_as_itself(finished):
    path = finished.folder / "results.json"
    rows, kept = compare(path, path)
    assert kept
    assert len(rows) == 2 * (len(TIMED) + 2)
    assert not any(row["distinguishable"] for row in rows)


def test_the_table_names_what_passed_what_is_faster_and_what_was_refused(finished):
    assert "agreement  shallow standard, initial: 16 of 17 checks passed" in finished.printed
    assert "agreement  shallow standard: 30 of 30 checks passed" in finished.printed
    assert re.search(r"fast-mnist-uint8 +[\d.]+ us/image +[\d.]+x  \[", finished.printed)
    assert "refused    shallow standard, initial, <broken>: disagrees at: one update" in finished.printed


def test_the_page_loads_nothing_from_elsewhere(finished):
    page = finished.page
    assert re.findall(r"<(?:script|link|iframe|object|embed)|@import|url\(|https?://", page) == []
    sources = re.findall(r"(?:src|href)\s*=\s*['\"]?([^'\">]*)", page)
    assert sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert len(page) < 6e6


def test_the_page_holds_the_refusals_escaped(finished):
    case, reason = "shallow standard, initial, &lt;broken&gt;", "disagrees at: one update"
    assert f"<td>{case}</td><td>{reason}</td>" in finished.page
    assert "<broken>" not in finished.page
    assert "<td class='no'>NO</td>" in finished.page


def test_the_page_holds_a_row_for_every_ratio(finished):
    for row in finished.content["ratios"]:
        if row["clock"] == "cpu":
            assert f"<td>{row['contender']}</td>" in finished.page
    assert "the baseline" in finished.page
