"""A goal is met where all of the interval says so, and only where it was measured."""

import re

import pytest

from benchmarks.loaders.loading import LOADERS
from benchmarks.ports.frameworks import FRAMEWORKS, QUALITY, choose_variants
from benchmarks.ports.sample import Sample
from benchmarks.report import goals
from benchmarks.report.goals import GOALS, Goal, goal_rows, outcomes
from benchmarks.report.page import write_report
from benchmarks.report.results_file import Results
from benchmarks.report.tables import goal_lines, markdown, print_table
from benchmarks.suites import SCALINGS, SUITES
from benchmarks.timing.evidence import Evidence
from benchmarks.timing.floors import FLOORS
from benchmarks.timing.quality import ORIGINALS
from core_torch.parity.judge import Check

CASE = "loading, batch 512, digits repeated to 60,000"


def run_of(seconds: dict[str, list[float]], *, case: str = CASE, device: str = "cpu", floors: tuple = ()) -> Results:
    """A run in which each contender took so many seconds an image, block by block."""
    results = Results([], {"cpu": "a cpu", "versions": {}, "device": device}, "digits")
    for name, values in seconds.items():
        samples = [Sample(wall=value, cpu=value, images=1) for value in values]
        for clock in ("cpu", "wall"):
            if name in floors:
                results.add_floor(case, name, samples, clock=clock, times={})
            else:
                results.add_measurement(case, name, samples, clock=clock, evidence=Evidence([], ""))
    return results


def judged(monkeypatch, goal: Goal, results: Results) -> list[tuple[str, float]]:
    monkeypatch.setattr(goals, "GOALS", (goal,))
    return [(each.said, each.found.median) for each in outcomes(results)]


@pytest.mark.parametrize(
    ("own", "said"),
    [([1.0] * 6, "met"), ([1.5] * 6, "not met"), ([1.0, 1.0, 1.0, 1.5, 1.5, 1.5], "not distinguishable")],
)
def test_at_least_so_many_times_as_fast(own, said, monkeypatch):
    goal = Goal("loading, .*", "quick", ("slow",), at_least=8)
    found = judged(monkeypatch, goal, run_of({"slow": [10.0] * 6, "quick": own}))
    assert [each[0] for each in found] == [said]


@pytest.mark.parametrize(
    ("own", "said"),
    [([1.0] * 6, "met"), ([1.5] * 6, "not met"), ([1.0, 1.0, 1.0, 1.5, 1.5, 1.5], "not distinguishable")],
)
def test_at_most_so_many_times_the_floor(own, said, monkeypatch):
    goal = Goal("loading, .*", "quick", ("gemm",), at_most=1.2)
    found = judged(monkeypatch, goal, run_of({"gemm": [1.0] * 6, "quick": own}, floors=("gemm",)))
    assert [each[0] for each in found] == [said]


def test_a_time_alone_is_in_nanoseconds_an_image(monkeypatch):
    goal = Goal("loading, .*", "start", at_most=5)
    assert judged(monkeypatch, goal, run_of({"start": [4e-9] * 6})) == [("met", pytest.approx(4))]
    assert judged(monkeypatch, goal, run_of({"start": [6e-9] * 6})) == [("not met", pytest.approx(6))]


def test_pairs_are_of_one_block(monkeypatch):
    """A machine that is slow for a block is slow for both."""
    goal = Goal("loading, .*", "quick", ("slow",), at_least=10)
    results = run_of({"slow": [10.0, 100.0] * 3, "quick": [1.0, 10.0] * 3})
    assert judged(monkeypatch, goal, results) == [("met", pytest.approx(10))]


def test_of_several_the_fastest_is_what_counts(monkeypatch):
    goal = Goal("loading, .*", "quick", ("slow", "slower", "absent"), at_least=10)
    results = run_of({"slower": [20.0] * 6, "slow": [9.0] * 6, "quick": [1.0] * 6})
    assert judged(monkeypatch, goal, results) == [("not met", pytest.approx(9))]


def test_what_was_not_measured_says_nothing(monkeypatch):
    goal = Goal("loading, .*", "quick", ("slow",), at_least=10)
    assert judged(monkeypatch, goal, run_of({"slow": [9.0] * 6})) == []
    assert judged(monkeypatch, goal, run_of({"quick": [9.0] * 6})) == []
    assert judged(monkeypatch, goal, run_of({"slow": [9.0] * 6, "quick": [1.0] * 6}, case="training")) == []
    on_gpu = run_of({"slow": [9.0] * 6, "quick": [1.0] * 6}, device="cuda:0")
    assert judged(monkeypatch, goal, on_gpu) == []


def test_an_error_to_reach_is_read_from_its_check():
    original = ORIGINALS[0]
    results = run_of({})
    results.add_checks([Check(f"{original}, mnist", original.contender, original.check, 0.001, original.mse, True)])
    assert [each.said for each in outcomes(results)] == ["met"]
    results.agreement[0]["passed"] = False
    assert [each.said for each in outcomes(results)] == ["not met"]


def test_the_table_and_every_report_show_them(tmp_path, capsys):
    seconds = {"dataloader": [150.0] * 6, "fast-mnist-compiled": [0.5] * 6, "getitems": [2.0] * 6}
    results = run_of(seconds)
    assert [[*row[1:3], row[-1].partition(":")[0]] for row in goal_rows(results)] == [
        ["fast-mnist-compiled >= 150 x dataloader", "300", "met"],
        ["fast-mnist-compiled >= 6 x getitems", "4", "not met"],
    ]
    print_table(results)
    printed = capsys.readouterr().out
    assert f"goal       {CASE}: fast-mnist-compiled >= 150 x dataloader: 300 [300 to 300] met" in printed
    write_report(results, tmp_path / "report.html")
    assert "<h2>Goals</h2>" in (tmp_path / "report.html").read_text()
    assert f"| {CASE} | fast-mnist-compiled >= 6 x getitems | 4 | 4 to 4 | not met: " in markdown(
        vars(results) | {"created": "2026-01-01"}
    )


def test_a_case_of_several_runs_is_taken_from_the_first():
    other = "loading, batch 32, digits"
    first, second = run_of({"dataloader": [150.0] * 6, "fast-mnist-uint8": [0.5] * 6}), run_of({})
    for case, slow in ((CASE, 9.0), (other, 100.0)):
        for row in run_of({"dataloader": [slow] * 6, "fast-mnist-uint8": [1.0] * 6}, case=case).measurements:
            second.measurements.append(row)
    found = [row.split(" | ")[0::2] for row in goal_lines(first, second)[2:]]
    assert [(case.removeprefix("| "), value) for case, value, *_ in found] == [(CASE, "300"), (other, "100")]


def test_a_loader_of_fewer_images_is_not_held_to_the_goal_of_all():
    seconds = {"dataloader": [1.0] * 6, "fast-mnist-compiled": [1.0] * 6, "getitems": [1.0] * 6}
    assert goal_rows(run_of(seconds, case="loading, batch 512, mnist cut to 1,000")) == []
    assert len(goal_rows(run_of(seconds, case="loading, batch 512, mnist"))) == 2


def test_every_goal_is_of_something_that_the_suites_run():
    """A renamed loader, variant or floor would otherwise leave its goal without a measurement for ever."""
    variants = {f"{name}/{variant}" for name, framework in FRAMEWORKS.items() for variant in framework.variants}
    sizes = {size for growth in SCALINGS for size in growth.labels}
    labels = {original.contender for original in ORIGINALS}
    known = variants | set(LOADERS) | set(FLOORS) | sizes | set(QUALITY.variants) | labels
    named = {name for goal in GOALS for name in (goal.contender, *goal.beside)}
    assert named <= known
    full = SUITES["full"]
    cases = [f"training {each.model}, batch {each.batch_size}, digits" for each in full.training]
    cases += [f"loading, batch {each.batch_size}, digits" for each in full.loading]
    cases += [f"{each}, digits" for each in (*SCALINGS, *ORIGINALS)] + ["closed form, randomized-shallow, digits"]
    assert [goal for goal in GOALS if not any(re.fullmatch(goal.case, case) for case in cases)] == []
    for goal in GOALS:
        framework, _, variant = goal.contender.partition("/")
        timed = [
            choose_variants(framework, model=each.model, extras=each.extras, device=goal.device)
            for each in full.training
            if variant and re.fullmatch(goal.case, f"training {each.model}, batch {each.batch_size}, digits")
        ]
        assert not variant or any(variant in variants for variants in timed), goal


def test_what_one_training_found_has_no_interval():
    results = run_of({})
    original = ORIGINALS[0]
    results.add_checks([Check(f"{original}, mnist", original.contender, original.check, 0.001, original.mse, True)])
    assert goal_rows(results)[0][-2:] == ["", "met"]


def test_a_goal_says_one_thing():
    for goal in GOALS:
        assert [goal.at_least is None, goal.at_most is None, not goal.check].count(False) == 1


def test_the_reason_of_a_miss_is_told_and_of_a_success_is_not(monkeypatch):
    goal = Goal("loading, .*", "quick", ("slow",), at_least=8, reason="the copy alone takes as long")
    monkeypatch.setattr(goals, "GOALS", (goal,))
    missed, met = (run_of({"slow": [10.0] * 6, "quick": [own] * 6}) for own in (5.0, 1.0))
    assert goal_rows(missed)[0][-1] == "not met: the copy alone takes as long"
    assert goal_rows(met)[0][-1] == "met"
