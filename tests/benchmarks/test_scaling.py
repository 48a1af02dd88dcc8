"""The growth of an image's time is measured over datasets that are proved, and a variant whose time grows is seen."""

import numpy as np
import pytest

from benchmarks import suites
from benchmarks.loaders.loading import wrong_images
from benchmarks.loaders.scaling import VARIANTS, prepare
from benchmarks.ports.frameworks import Framework
from benchmarks.ports.timed_port import Case
from benchmarks.report.goals import outcomes
from benchmarks.report.reading import read_results
from benchmarks.report.results_file import Results
from benchmarks.runner import Runner
from benchmarks.suites import SCALING, SCALINGS, Scaling, Suite
from core_torch.files.splits import Split
from core_torch.spec.recipe import Recipe

SIZES = (100, 400)
PORT = """
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
        images = len(split) ** (2 if case.variant == "quadratic" else 1)
        end = time.process_time() + 1e-5 * images
        while time.process_time() < end:
            pass
        return len(split) - (case.variant == "forgetful")

    return LoadingTrial(rows if case.variant != "wrong" else lambda number: list(rows(number))[1:], epoch)
"""


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_route_hands_out_the_images_that_it_is_timed_on(variant, digits: Split):
    split = digits.take(np.arange(80))
    trial = prepare(Case(framework="scaling", variant=variant, batch_size=32), split, Recipe(batch_size=32))
    assert wrong_images(trial.checksums(0), split) == 0
    assert trial.epoch(0) == trial.epoch(1) == 80


def test_training_changes_the_model_and_the_start_of_an_epoch_reads_no_image(digits: Split, monkeypatch):
    from core_torch.data.resident import ResidentDataset

    read = []
    gather = ResidentDataset.gather
    monkeypatch.setattr(ResidentDataset, "gather", lambda self, index: read.append(len(index)) or gather(self, index))
    split = digits.take(np.arange(80))
    for variant, expected in (("epoch start", 0), ("resident", 80), ("training", 80)):
        read.clear()
        prepare(Case(framework="scaling", variant=variant, batch_size=32), split, Recipe(batch_size=32)).epoch(0)
        assert sum(read) == expected


def test_every_route_that_is_timed_exists():
    assert tuple(SCALING.variants) == tuple(growth.variant for growth in SCALINGS)
    assert set(SCALING.variants) == set(VARIANTS)


def grown(variant: str, digits: Split, monkeypatch, write_port) -> Results:
    write_port("scaling_port", PORT)
    monkeypatch.setattr(suites, "SCALING", Framework("scaling_port", {variant: ""}))
    results = Results([], {"cpu": "a cpu", "versions": {}}, "digits")
    ignore = lambda line: None  # noqa: E731
    suite = Suite(scaling=(Scaling(variant, images=SIZES, batch_size=50),), blocks=6)
    Runner(results, digits, names=[], device="cpu", seed=0, log=ignore, save=lambda: None).run(suite)
    return results


def test_sizes_are_timed_beside_the_smallest(digits, monkeypatch, write_port, tmp_path):
    results = grown("linear", digits, monkeypatch, write_port)
    assert results.passed
    ratios = {row["contender"]: row["median"] for row in results.ratios if row["clock"] == "cpu"}
    assert ratios == {"100 images": 1.0, "400 images": pytest.approx(1, abs=0.5)}
    results.write(tmp_path / "results.json")
    read_results(tmp_path / "results.json")


def test_a_time_that_grows_with_the_dataset_does_not_meet_the_goal(digits, monkeypatch, write_port):
    monkeypatch.setattr("benchmarks.report.goals.GOALS", tuple(_goals("quadratic")))
    found = outcomes(grown("quadratic", digits, monkeypatch, write_port))
    assert [each.said for each in found] == ["not met"]
    assert found[0].found.median < 0.5


def _goals(variant: str):
    from benchmarks.report.goals import LEAST_SCALING, Goal

    growth = Scaling(variant, images=SIZES, batch_size=50)
    yield Goal(rf"{growth}, .*", growth.labels[1], (growth.labels[0],), at_least=LEAST_SCALING)


def test_a_route_that_loses_images_is_refused(digits, monkeypatch, write_port):
    results = grown("wrong", digits, monkeypatch, write_port)
    assert not results.measurements
    assert "images were wrong" in results.refused[0]["reason"]


def test_the_smallest_size_comes_first_as_all_are_held_to_it():
    for growth in suites.SCALINGS:
        assert list(growth.images) == sorted(growth.images)
