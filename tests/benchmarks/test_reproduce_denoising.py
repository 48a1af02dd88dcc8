"""Vincent et al. 2010: corruption by kind and level, features, layers upon layers."""

import pytest
import torch

from benchmarks.papers import denoising
from benchmarks.papers.denoising import CLEAN, CORRUPTIONS, ERROR, LOCAL, NOISY, TABLE, localisation, stacked
from core_torch.data.corruption import Corruption
from core_torch.data.resident import ResidentDataset
from core_torch.spec.recipe import Recipe
from tests.benchmarks.digits import Digits

SHORT = Recipe(validation_fraction=0, learning_rate=0.01, epochs=1)


@pytest.fixture(scope="module")
def data() -> Digits:
    return Digits()


def run(data: Digits, corruption: Corruption | None, *, seed: int = 0, depth: int = 1, epochs: int = 1) -> dict:
    recipe = SHORT.with_changes(epochs=epochs)
    return dict(
        denoising.run(data, seed, corruption=corruption, units=20, depth=depth, pretraining=recipe, tuning=SHORT)
    )


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_gives_every_metric(data, name):
    metrics = run(data, CORRUPTIONS[name])
    assert set(metrics) == set(TABLE.metrics)
    assert 0 <= metrics[ERROR] <= 100 and 0 <= metrics[LOCAL] <= 100


def test_without_noise_there_is_no_error_on_noise(data):
    assert set(run(data, None)) == {ERROR, CLEAN, LOCAL}


def test_a_seed_says_all(data):
    noise = Corruption("masking", 0.25)
    assert run(data, noise) == run(data, noise)
    assert run(data, noise) != run(data, noise, seed=1)


def test_noise_in_training_helps_against_noise_and_not_without(data):
    strong = Corruption("gaussian", 0.5)
    trained = run(data, strong, epochs=20)
    weak = run(data, Corruption("gaussian", 0.0), epochs=20)
    assert trained[NOISY] < 0.12  # of pixels that are 0.5 off before they are clipped
    assert weak[NOISY] == pytest.approx(weak[CLEAN])  # corrupted by nothing
    assert weak[CLEAN] < trained[CLEAN]


def test_localisation_is_the_share_of_the_best_window():
    weight = torch.zeros(3, 28, 28)
    weight[0] = 1.0
    weight[1, 3, 25] = -2.0
    weight[2, 0, 0] = weight[2, 27, 27] = 1.0
    shares = [81 / 784, 1.0, 0.5]
    for filter, share in zip(weight, shares):
        assert localisation(filter.reshape(1, 784)) == pytest.approx(share)
    assert localisation(weight.flatten(1)) == pytest.approx(sum(shares) / 3)


def test_a_layer_is_trained_on_the_codes_of_the_one_below(data):
    dataset = ResidentDataset(data.train)
    recipe = SHORT.with_changes(objective="denoising", corruption="masking", corruption_level=0.25)
    one, three = (stacked(dataset, units=20, depth=depth, recipe=recipe) for depth in (1, 3))
    assert [tuple(layer.weight.shape) for layer in three.encoder[::2]] == [(20, 784), (20, 20), (20, 20)]
    start = denoising.build_autoencoder(three.architecture, seed=0)
    moved = [not torch.equal(ours.weight, begun.weight) for ours, begun in zip(three.encoder[::2], start.encoder[::2])]
    assert moved == [True, True, True]
    assert one.encoder[0].weight.shape == three.encoder[0].weight.shape
    assert set(run(data, None, depth=3)) == {ERROR, CLEAN, LOCAL}


def test_what_is_published_is_of_as_many_layers():
    published = {row.name: dict(row.published) for row in TABLE.rows if row.published}
    assert published == {
        "no noise, three layers of 1000": {ERROR: 1.40},
        "masking 0.25, three layers of 1000": {ERROR: 1.28},
    }


def test_an_ordering_can_fail():
    ordering = next(each for each in TABLE.orderings if each.metric == ERROR)
    better, worse = {ordering.rows[0]: 2.0, ordering.rows[1]: 1.5}, {ordering.rows[0]: 1.5, ordering.rows[1]: 1.5}
    assert ordering.rows[0].startswith("no noise")
    assert not ordering.broken(better) and ordering.broken(worse)
