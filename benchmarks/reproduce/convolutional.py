"""Masci et al., ICANN 2011: pretraining convolutions; Guo et al., ICONIP 2017: k-means on a convolutional code."""

from functools import partial

import numpy as np

from benchmarks.reproduce.fine_tuning import fine_tuned_error
from benchmarks.reproduce.table import Data, Metrics, Ordering, Row, Table
from core_torch.contract.architecture import Convolutional
from core_torch.contract.pixels import CLASSES
from core_torch.contract.presets import preset
from core_torch.contract.recipe import Recipe
from core_torch.data.resident import ResidentDataset
from core_torch.evaluation.probe import encode
from core_torch.models.autoencoder import build_autoencoder
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.training.loop import train

ERROR, ACCURACY, INFORMATION, MSE = "error %", "k-means accuracy", "k-means NMI", "MSE"
STARTS = 20  # of k-means; the best is kept


def labelled(
    data: Data, seed: int, *, network: Convolutional, labels: int, pretraining: Recipe | None, tuning: Recipe
) -> Metrics:
    """Error after fine-tuning on so many labels, from random weights or from an autoencoder of all images."""
    model = build_autoencoder(network, seed=seed)
    if pretraining:
        images = ResidentDataset(data.train, device=data.device)
        train(model, images, recipe=pretraining.with_changes(seed=seed), progress=False)
    chosen = np.random.default_rng(seed).permutation(len(data.train))[:labels]
    tuning = tuning.with_changes(seed=seed)
    return {ERROR: fine_tuned_error(model, data.train.take(chosen), data.test, recipe=tuning, device=data.device)}


def clustered(data: Data, seed: int, **changes: object) -> Metrics:
    """Train the network of DCEC as an autoencoder, find ten centres of the training codes, sort the test codes."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    architecture, recipe = preset("dcec", "conv-deep", "standard")
    model = build_autoencoder(architecture, seed=seed)
    recipe = recipe.with_changes(seed=seed, validation_fraction=0, **changes)
    train(model, ResidentDataset(data.train, device=data.device), recipe=recipe, progress=False)
    centres = KMeans(CLASSES, n_init=STARTS, random_state=seed).fit(encode(model, data.train))
    clusters = centres.predict(encode(model, data.test))
    return {
        ACCURACY: clustering_accuracy(clusters, data.test.labels),
        INFORMATION: float(normalized_mutual_info_score(data.test.labels, clusters)),
        MSE: mean_squared_error(model, ResidentDataset(data.test, device=data.device)),
    }


def clustering_accuracy(clusters: np.ndarray, labels: np.ndarray) -> float:
    """The share of images in the cluster that their class is given: one each, whichever way is best for all."""
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    together = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    np.add.at(together, (clusters, labels), 1)
    return float(together[linear_sum_assignment(together, maximize=True)].sum() / len(labels))


CYCLE = Recipe(schedule="one-cycle", validation_fraction=0, learning_rate=0.002)
TUNING = {1_000: CYCLE.with_changes(epochs=40), 10_000: CYCLE.with_changes(epochs=8), 55_000: CYCLE.with_changes(epochs=8)}
PUBLISHED = {  # {labels: (from random weights, pretrained)}, error in %
    1_000: (7.63, 7.23),
    10_000: (2.21, 1.88),
    55_000: (0.79, 0.71),
}
NETWORKS = {  # {filters: (epochs of pretraining, labels, whether it takes a GPU)}
    (20, 30, 40): (1, (1_000, 10_000), False),
    (100, 150, 200): (20, (1_000, 10_000, 55_000), True),
}
CLUSTERINGS: dict[int, dict[str, object]] = {  # {epochs: (changes of the recipe)}
    1: {"schedule": "one-cycle", "learning_rate": 0.005},
    10: {"schedule": "one-cycle", "learning_rate": 0.005},
    200: {},
}


def named(filters: tuple[int, ...], labels: int, start: str) -> str:
    """The name of a row."""
    return f"{labels:,} labels, {'-'.join(map(str, filters))} filters, {start}"


def labelled_rows(filters: tuple[int, ...]) -> tuple[Row, ...]:
    """With every number of labels, from random weights and pretrained."""
    epochs, counts, gpu = NETWORKS[filters]
    network = Convolutional(
        filters=filters, kernel_sizes=(5, 5, 3), code_width=300, hidden_activation="tanh", code_activation="tanh"
    )
    starts = (("random", None), ("pretrained", CYCLE.with_changes(epochs=epochs)))
    return tuple(
        Row(
            name=named(filters, labels, start),
            run=partial(labelled, network=network, labels=labels, pretraining=pretraining, tuning=TUNING[labels]),
            published={ERROR: published},
            quick=labels == min(TUNING) and not gpu,
            gpu=gpu,
        )
        for labels in counts
        for (start, pretraining), published in zip(starts, PUBLISHED[labels], strict=True)
    )


def clustering_row(epochs: int) -> Row:
    """k-means on codes after so many epochs."""
    return Row(
        name=f"k-means on codes, {epochs} epochs",
        run=partial(clustered, epochs=epochs, **CLUSTERINGS[epochs]),
        published={ACCURACY: 0.849, INFORMATION: 0.7927} if epochs == 200 else {},
        quick=epochs == min(CLUSTERINGS),
        gpu=epochs == 200,
        seeds=1,
    )


TABLE = Table(
    title="Convolutional autoencoders",
    source=(
        "Masci, Meier, Ciresan, Schmidhuber, Stacked Convolutional Auto-Encoders, ICANN 2011, MNIST; Guo, Liu, Zhu, Yin, "
        "Deep Clustering with Convolutional Autoencoders, ICONIP 2017, MNIST"
    ),
    protocol="TODO",
    metrics={ERROR: ".2f", ACCURACY: ".3f", INFORMATION: ".3f", MSE: ".5f"},
    rows=(*(row for filters in NETWORKS for row in labelled_rows(filters)), *map(clustering_row, CLUSTERINGS)),
    orderings=tuple(
        Ordering(ERROR, (named(filters, labels, "random"), named(filters, labels, "pretrained")))
        for filters, (_, counts, _) in NETWORKS.items()
        for labels in counts
    ),
)
