"""Masci et al. 2011 and DCEC: pretraining for few labels, and k-means on codes."""

import numpy as np
import pytest

from benchmarks.papers import convolutional
from benchmarks.papers.convolutional import ACCURACY, ERROR, INFORMATION, MSE, TABLE, clustered, clustering_accuracy
from core_torch.spec.architecture import Convolutional
from core_torch.spec.recipe import Recipe
from tests.benchmarks.digits import Digits

SHORT = Recipe(validation_fraction=0, learning_rate=0.005, epochs=1, batch_size=32)
LONGER = SHORT.with_changes(epochs=10)
SMALL = Convolutional(
    filters=(4, 6), kernel_sizes=(5, 3), code_width=20, hidden_activation="tanh", code_activation="tanh"
)


@pytest.fixture(scope="module")
def data() -> Digits:
    return Digits()


def error(data: Digits, *, labels: int, seed: int = 0, pretrained: bool = False, tuning: Recipe = LONGER) -> float:
    pretraining = SHORT if pretrained else None
    how = {"network": SMALL, "labels": labels, "pretraining": pretraining, "tuning": tuning}
    return convolutional.labelled(data, seed, **how)[ERROR]


def test_pretraining_changes_the_start_and_a_seed_says_all(data):
    assert error(data, labels=200) == error(data, labels=200)
    assert error(data, labels=200) != error(data, labels=200, pretrained=True)
    assert error(data, labels=200) != error(data, labels=200, seed=1)


def test_more_labels_are_more_to_learn_from(data):
    few, many = (error(data, labels=labels) for labels in (20, 1000))
    assert many < 20 < few


def test_only_the_chosen_labels_are_seen(data, monkeypatch):
    seen = []

    def spy(model, train, test, **options):
        seen.append(train)
        return 0.0

    monkeypatch.setattr(convolutional, "fine_tuned_error", spy)
    for seed in (0, 0, 1):
        error(data, labels=50, seed=seed)
    assert [len(split) for split in seen] == [50, 50, 50]
    assert np.array_equal(seen[0].images, seen[1].images)
    assert not np.array_equal(seen[0].images, seen[2].images)


def test_codes_are_clustered(data):
    metrics = clustered(data, 0, recipe=SHORT)
    assert set(metrics) == {ACCURACY, INFORMATION, MSE}
    assert 0.1 < metrics[ACCURACY] < 1 and 0 < metrics[INFORMATION] < 1


def test_clusters_are_counted_by_the_best_assignment_and_every_class_has_one():
    labels = np.repeat(np.arange(10), 10)
    assert clustering_accuracy((labels + 3) % 10, labels) == 1
    assert clustering_accuracy(np.zeros(100, dtype=int), labels) == 0.1
    halved = np.where(np.arange(100) % 2, labels, (labels + 1) % 10)
    assert clustering_accuracy(halved, labels) == 0.5
    merged = np.where(labels == 9, 8, labels)  # two classes in a cluster: one of them is lost
    assert clustering_accuracy(merged, labels) == 0.9


def test_rows_of_a_pair_differ_in_their_start_alone():
    rows = [row for row in TABLE.rows if "labels" in row.name]
    for random, pretrained in zip(rows[::2], rows[1::2]):
        one, other = (dict(row.run.keywords) for row in (random, pretrained))
        assert one.pop("pretraining") is None and other.pop("pretraining") is not None
        assert one == other and random.published.keys() == pretrained.published.keys()
        assert not random.published or random.published[ERROR] > pretrained.published[ERROR]
    assert [ordering.rows for ordering in TABLE.orderings] == [
        (random.name, pretrained.name) for random, pretrained in zip(rows[::2], rows[1::2])
    ]
    assert TABLE.orderings[0].broken(dict.fromkeys(TABLE.orderings[0].rows, 1.0))


def test_the_papers_networks_wait_for_a_gpu():
    assert {row.gpu for row in TABLE.rows if "100-150-200" in row.name or "200 epochs" in row.name} == {True}
    assert not any(row.gpu for row in TABLE.rows if row.quick)
