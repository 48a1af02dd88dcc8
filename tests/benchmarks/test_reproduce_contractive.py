"""Rifai et al. 2011: the five ways, what is measured of them, and the error after fine-tuning."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks.papers import contractive
from benchmarks.papers.contractive import (
    ERROR,
    MSE,
    NORM,
    PER_ENTRY,
    SATURATION,
    TABLE,
    WAYS,
    PenalizedCrossEntropy,
    looked_at,
)
from benchmarks.papers.fine_tuning import fine_tuned_error
from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import Split
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.objectives.jacobian import encoder_jacobian
from core_torch.spec.architecture import PIXELS, FullyConnected
from core_torch.spec.recipe import Recipe
from tests.benchmarks.digits import Digits

SHORT = Recipe(validation_fraction=0, learning_rate=0.01, epochs=1)


@pytest.fixture(scope="module")
def data() -> Digits:
    return Digits()


def layer(units: int = 20) -> Autoencoder:
    return build_autoencoder(FullyConnected(widths=(PIXELS, units), code_activation="sigmoid", tied=True), seed=1)


def test_every_way_gives_every_metric(data):
    for way in WAYS.values():
        metrics = contractive.run(data, 0, way=way, units=20, pretraining=SHORT, tuning=SHORT)
        assert set(metrics) == set(TABLE.metrics)
        assert 0 <= metrics[ERROR] <= 100 and 0 <= metrics[SATURATION] <= 100 and 0 < metrics[MSE] < 1


def test_a_seed_says_all(data):
    def metrics(seed: int) -> dict[str, float]:
        return dict(contractive.run(data, seed, way=WAYS["DAE-g"], units=20, pretraining=SHORT, tuning=SHORT))

    assert metrics(0) == metrics(0)
    assert metrics(0) != metrics(1)


def test_the_norm_is_that_of_the_whole_jacobian(data):
    model, dataset = layer(), ResidentDataset(data.test.take(np.arange(30)))
    jacobian = encoder_jacobian(model, dataset.data).detach().double()  # (N, 20, 784)
    seen = looked_at(model, dataset)
    assert seen[NORM] == pytest.approx(float(jacobian.square().sum((1, 2)).sqrt().mean()), rel=1e-5)
    assert seen[PER_ENTRY] == pytest.approx(float(jacobian.square().mean()), rel=1e-5)
    assert seen[NORM] != pytest.approx(float(jacobian.square().sum((1, 2)).mean()), rel=1e-2)


def test_a_unit_is_saturated_at_either_end(data):
    model, dataset = layer(units=4), ResidentDataset(data.test)
    with torch.no_grad():
        model.encoder[0].weight.zero_()
        model.encoder[0].bias.copy_(torch.tensor([-3.0, 3.0, 2.9, 0.0]))  # 0.047, 0.953, 0.948, 0.5
    assert looked_at(model, dataset)[SATURATION] == pytest.approx(50)


@pytest.mark.parametrize("name", ["CAE", "AE+wd"])
def test_a_penalty_is_in_units_of_an_error_summed_over_pixels(data, name):
    model, way = layer(), WAYS[name]
    criterion = PenalizedCrossEntropy(model, way.penalty, weight=way.weight)
    images = ResidentDataset(data.test.take(np.arange(10))).data
    output = model(images)
    summed = F.binary_cross_entropy(output, images.flatten(1), reduction="sum") / 10
    code = model.encode(images)
    norms = model.encoder[0].weight.square().sum(1)
    penalty = ((code * (1 - code)).square() @ norms).mean() if name == "CAE" else norms.sum()
    loss = criterion(output, images.flatten(1))
    torch.testing.assert_close(PIXELS * loss, summed + way.weight * penalty, rtol=1e-5, atol=1e-4)
    assert torch.autograd.grad(way.penalty(model, images), model.encoder[0].weight)[0].abs().sum() > 0


def test_contraction_lowers_the_norm_and_without_its_weight_does_not(data):
    def norm(way: contractive.Way) -> float:
        longer = SHORT.with_changes(epochs=5)
        return contractive.run(data, 0, way=way, units=20, pretraining=longer, tuning=SHORT)[NORM]

    plain, strong = norm(WAYS["AE"]), replace(WAYS["CAE"], weight=3.0)
    assert norm(strong) < 0.8 * plain
    assert norm(replace(strong, weight=0.0)) == pytest.approx(plain, rel=1e-3)


def test_the_orderings_are_the_papers():
    norm, error = (next(each for each in TABLE.orderings if each.metric == metric) for metric in (NORM, ERROR))
    assert [name.split(",")[0] for name in norm.rows] == ["AE", "DAE-b", "AE+wd", "DAE-g", "CAE"]
    assert [name.split(",")[0] for name in error.rows] == ["AE", "AE+wd", "DAE-b", "DAE-g", "CAE"]
    falling = dict(zip(norm.rows, range(5, 0, -1)))
    assert not norm.broken(falling)
    assert norm.broken(falling | {norm.rows[-1]: 6}) == [(row, norm.rows[-1]) for row in norm.rows[:-1]]


def test_fine_tuning_learns_the_labels_and_nothing_from_shuffled_ones(data):
    recipe = SHORT.with_changes(epochs=10)
    assert fine_tuned_error(layer(), data.train, data.test, recipe=recipe) < 15
    shuffled = np.random.default_rng(0).permutation(data.train.labels)
    nonsense = Split(data.train.images, shuffled, "nonsense")
    assert fine_tuned_error(layer(), nonsense, data.test, recipe=recipe) > 60


def test_fine_tuning_changes_the_encoder_and_starts_from_it(data):
    model, other = layer(), layer()
    before = model.encoder[0].weight.detach().clone()
    error = fine_tuned_error(model, data.train, data.test, recipe=SHORT)
    assert not torch.equal(model.encoder[0].weight, before)
    with torch.no_grad():
        other.encoder[0].weight.zero_()
    assert fine_tuned_error(other, data.train, data.test, recipe=SHORT) > error
