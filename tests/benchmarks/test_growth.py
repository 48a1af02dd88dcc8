"""The growth of an image's time is measured over datasets that are proved, and a route whose time grows is seen."""

import numpy as np
import pytest

from benchmarks import runner, suites
from benchmarks.loaders.loading import wrong_images
from benchmarks.ports.frameworks import Framework
from benchmarks.ports.scaling import ROUTES, prepare
from benchmarks.ports.timed_port import Case
from benchmarks.report.goals import outcomes
from benchmarks.report.results_file import Results, read_results
from benchmarks.runner import Runner
from benchmarks.suites import GROWN, GROWTH, Growth, Suite
from core_torch.files.splits import Split
from core_torch.spec.recipe import Recipe

SIZES = (100, 400)
ROUTE = """
import time
import numpy as np
from benchmarks.loaders.loading import LoadingTrial
from core_torch.spec.batch_order import batch_order
from core_torch.files.splits import to_unit_range

def prepare(case, split, recipe):
    def rows(epoch):
        images = to_unit_range(split.images).reshape(len(split), -1)
        return (images[batch] for batch in batch_order(len(split), case.batch_size, epoch=epoch))

    def epoch(number):
        images = len(split) ** (2 if case.route == "quadratic" else 1)
        end = time.process_time() + 1e-5 * images
        while time.process_time() < end:
            pass
        return len(split) - (case.route == "forgetful")

    return LoadingTrial(rows if case.route != "wrong" else lambda number: list(rows(number))[1:], epoch)
"""


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_hands_out_the_images_that_it_is_timed_on(route, digits: Split):
    split = digits.take(np.arange(80))
    trial = prepare(Case(framework="growth", route=route, batch_size=32), split, Recipe(batch_size=32))
    assert wrong_images(trial.checksums(0), split) == 0
    assert trial.epoch(0) == trial.epoch(1) == 80


def test_training_changes_the_model_and_the_start_of_an_epoch_reads_no_image(digits: Split, monkeypatch):
    from core_torch.data.resident import ResidentDataset

    read = []
    gather = ResidentDataset.gather
    monkeypatch.setattr(ResidentDataset, "gather", lambda self, index: read.append(len(index)) or gather(self, index))
    split = digits.take(np.arange(80))
    for route, expected in (("epoch start", 0), ("resident", 80), ("training", 80)):
        read.clear()
        prepare(Case(framework="growth", route=route, batch_size=32), split, Recipe(batch_size=32)).epoch(0)
        assert sum(read) == expected


def test_every_route_that_is_timed_exists():
    assert tuple(GROWN.routes) == tuple(growth.route for growth in GROWTH)
    assert set(GROWN.routes) == set(ROUTES)


def grown(route: str, digits: Split, monkeypatch, write_route) -> Results:
    write_route("growth_route", ROUTE)
    monkeypatch.setattr(runner, "GROWN", Framework("growth_route", {route: ""}))
    results = Results([], {"cpu": "a cpu", "versions": {}}, "digits")
    ignore = lambda line: None  # noqa: E731
    suite = Suite(growth=(Growth(route, images=SIZES, batch_size=50),), blocks=6)
    Runner(results, digits, frameworks=[], device="cpu", seed=0, say=ignore, save=lambda: None).run(suite)
    return results


def test_sizes_are_timed_beside_the_smallest(digits, monkeypatch, write_route, tmp_path):
    results = grown("linear", digits, monkeypatch, write_route)
    assert results.passed
    ratios = {row["contender"]: row["median"] for row in results.ratios if row["clock"] == "cpu"}
    assert ratios == {"100 images": 1.0, "400 images": pytest.approx(1, abs=0.5)}
    results.write(tmp_path / "results.json")
    read_results(tmp_path / "results.json")


def test_a_time_that_grows_with_the_dataset_does_not_meet_the_goal(digits, monkeypatch, write_route):
    monkeypatch.setattr("benchmarks.report.goals.GOALS", tuple(_goals("quadratic")))
    found = outcomes(grown("quadratic", digits, monkeypatch, write_route))
    assert [each.said for each in found] == ["not met"]
    assert found[0].found.median < 0.5


def _goals(route: str):
    from benchmarks.report.goals import FLAT, Goal

    growth = Growth(route, images=SIZES, batch_size=50)
    yield Goal(rf"{growth}, .*", growth.labels[1], (growth.labels[0],), at_least=FLAT)


def test_a_route_that_loses_images_is_refused(digits, monkeypatch, write_route):
    results = grown("wrong", digits, monkeypatch, write_route)
    assert not results.measurements
    assert "images were wrong" in results.refused[0]["reason"]


def test_the_smallest_size_comes_first_as_all_are_held_to_it():
    for growth in suites.GROWTH:
        assert list(growth.images) == sorted(growth.images)
