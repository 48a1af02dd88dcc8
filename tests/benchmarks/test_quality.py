"""What is held to an error is judged by it: a training that does not reach it has no row of times."""

import numpy as np
import pytest

from benchmarks.ports import frameworks
from benchmarks.ports.frameworks import CLOSED_FORM, GRADIENT_DESCENT, Framework
from benchmarks.ports.quality import prepare
from benchmarks.ports.timed_port import Case
from benchmarks.report.goals import outcomes
from benchmarks.report.reading import read_results
from benchmarks.report.results_file import Results
from benchmarks.runner import Runner
from benchmarks.suites import Suite
from benchmarks.timing.quality import CLOSED_FORM_MODEL, EPOCH_DIVISOR, ORIGINALS, Original, preset_recipe
from core_torch.files.splits import Split, to_unit_range
from core_torch.spec.presets import preset

PORT = """
import time

class Trial:
    def __init__(self, case, split, recipe):
        self.case, self.recipe, self.count = case, recipe, len(split)

    def epoch(self, number):
        seconds = 0.002 * self.recipe.epochs if self.case.variant == "gradient descent" else 0.004
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
        return self.count

    def error(self):
        return {ERRORS}[self.case.variant]

def prepare(case, split, recipe):
    return Trial(case, split, recipe)
"""


def run_of(suite: Suite, split: Split, errors: dict[str, float], monkeypatch, write_port) -> tuple[Results, list[str]]:
    write_port("quality_port", PORT.replace("{ERRORS}", str(errors)))
    monkeypatch.setattr(frameworks, "QUALITY", Framework("quality_port", {}))
    results, said = Results([], {"cpu": "a cpu", "versions": {}}, split.name), []
    Runner(results, split, names=[], device="cpu", seed=0, log=said.append, save=lambda: None).run(suite)
    return results, said


@pytest.fixture
def mnist(digits: Split) -> Split:
    """Digits under the name of the dataset that the original's errors are of."""
    return Split(digits.images, digits.labels, "mnist")


def test_the_closed_form_is_raced_against_a_hundred_times_its_time(mnist, monkeypatch, write_port, tmp_path):
    errors = {CLOSED_FORM: 0.01, GRADIENT_DESCENT: 0.02}
    results, _ = run_of(Suite(with_closed_form=True), mnist, errors, monkeypatch, write_port)
    assert results.passed
    assert [each.said for each in outcomes(results)] == ["met"]
    assert outcomes(results)[0].found.median > 100
    results.write(tmp_path / "results.json")
    read_results(tmp_path / "results.json")


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ({CLOSED_FORM: 0.02, GRADIENT_DESCENT: 0.01}, CLOSED_FORM),
        ({CLOSED_FORM: 9.0, GRADIENT_DESCENT: 9.5}, GRADIENT_DESCENT),
    ],
)
def test_a_larger_error_than_gradient_descents_or_a_descent_that_does_not_descend_has_no_times(
    errors, told, mnist, monkeypatch, write_port
):
    results, _ = run_of(Suite(with_closed_form=True), mnist, errors, monkeypatch, write_port)
    assert not results.passed
    assert not results.measurements
    assert told in [row["framework"] for row in results.agreement if not row["passed"]]


@pytest.mark.parametrize(("error", "said"), [(0.001, "met"), (0.5, "not met")])
def test_the_originals_error_is_reached_or_not(error, said, mnist, monkeypatch, write_port):
    results, _ = run_of(Suite(quality=ORIGINALS[:1]), mnist, {"best": error}, monkeypatch, write_port)
    assert [each.said for each in outcomes(results)] == [said]
    assert results.passed  # nobody disagrees


def test_on_another_dataset_the_originals_errors_say_nothing(digits, monkeypatch, write_port):
    results, told = run_of(Suite(quality=ORIGINALS), digits, {"best": 0.0}, monkeypatch, write_port)
    assert not results.agreement
    assert results.passed
    assert sum("left out" in line for line in told) == len(ORIGINALS)


def test_a_training_that_dies_is_refused(mnist, monkeypatch, write_port):
    results, _ = run_of(Suite(quality=ORIGINALS[:1], with_closed_form=True), mnist, {}, monkeypatch, write_port)
    assert [row["case"] for row in results.refused] == [str(ORIGINALS[0]), CLOSED_FORM]


def test_what_is_held_to_an_error_is_the_preset_with_its_changes():
    noisy = Original("deep", "denoising", 0.0175, 100, {"corruption_level": 0.1})
    assert noisy.contender == "preset best, 5 epochs, corruption level 0.1"
    recipe = noisy.recipe(seed=3)
    assert (recipe.objective, recipe.epochs, recipe.seed, recipe.corruption_level) == ("denoising", 5, 3, 0.1)
    assert recipe.learning_rate == preset("best", "deep", "denoising")[1].learning_rate
    assert len({*map(str, ORIGINALS)}) == len(ORIGINALS)


def test_no_more_epochs_are_allowed_than_a_twentieth():
    assert all(original.allowed * EPOCH_DIVISOR <= original.epochs for original in ORIGINALS)
    assert Original("shallow", "standard", 0.1, 100).allowed == 5
    assert Original("shallow", "standard", 0.1, 10_000).allowed == 20  # the preset's


@pytest.mark.parametrize("variant", [CLOSED_FORM, GRADIENT_DESCENT])
def test_both_solve_the_same_problem_and_are_judged_by_images_they_have_not_seen(variant, digits):
    case = Case(framework="quality", variant=variant, model=CLOSED_FORM_MODEL)
    trial = prepare(case, digits, preset_recipe(CLOSED_FORM_MODEL, epochs=20, seed=0))
    assert trial.epoch(0) == len(trial.kept) == 500
    assert len(trial.held) == 100
    encoder = trial.trained.encoder[0].weight.clone()
    assert 0 < trial.error() < np.var(to_unit_range(digits.images), axis=0).mean()
    trial.epoch(1)
    assert bool((trial.trained.encoder[0].weight == encoder).all())  # random, and the same again
    images = {image.numpy().tobytes() for image in trial.kept.data}
    assert not any(image.numpy().tobytes() in images for image in trial.held.data)


def test_the_two_start_from_one_random_encoder(digits):
    trials = [
        prepare(
            Case(framework="quality", variant=variant, model=CLOSED_FORM_MODEL),
            digits,
            preset_recipe(CLOSED_FORM_MODEL, epochs=1, seed=0),
        )
        for variant in (CLOSED_FORM, GRADIENT_DESCENT)
    ]
    for trial in trials:
        trial.epoch(0)
    one, two = (trial.trained.encoder[0].weight for trial in trials)
    assert bool((one == two).all())


def test_denoising_is_judged_on_noisy_images(digits):
    case = Case(framework="quality", variant="best", model="shallow")
    clean, noisy = (
        prepare(case, digits, preset_recipe("shallow", objective, epochs=1, seed=0))
        for objective in ("standard", "denoising")
    )
    for trial in (clean, noisy):
        trial.epoch(0)
    clean.recipe = noisy.recipe
    assert clean.error() > 0
    from core_torch.objectives.reconstruction import mean_squared_error

    assert noisy.error() != mean_squared_error(noisy.trained, noisy.held)
