"""Masci et al., ICANN 2011: pretraining convolutions; Guo et al., ICONIP 2017: k-means on a convolutional code."""

from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks.papers.fine_tuning import fine_tuned_error
from benchmarks.papers.table import ERROR, Data, Metrics, Ordering, Row, Table
from core_torch.data.resident import ResidentDataset
from core_torch.evaluation.probe import encode
from core_torch.files.splits import CLASSES
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.spec.architecture import Convolutional
from core_torch.spec.presets import preset
from core_torch.spec.recipe import Recipe
from core_torch.training.loop import train

ACCURACY, INFORMATION, MSE = "k-means accuracy", "k-means NMI", "MSE"
RESTARTS = 20  # of k-means; the best is kept
STARTS = ("random", "pretrained")
GAIN = nn.init.calculate_gain("tanh") * 3**0.5  # to a standard deviation of 5/3 over the root of the fan-in


def labelled(
    data: Data, seed: int, *, network: Convolutional, labels: int, pretraining: Recipe | None, tuning: Recipe
) -> Metrics:
    """Error after fine-tuning on so many labels, from random weights or from an autoencoder of all images."""
    model = started(network, seed=seed)
    if pretraining:
        images, recipe = ResidentDataset(data.train, device=data.device), pretraining.with_changes(seed=seed)
        train(model, images, recipe=recipe, criterion=nn.BCELoss(), progress=False)
    chosen = np.random.default_rng(seed).permutation(len(data.train))[:labels]
    tuning = tuning.with_changes(seed=seed)
    return {ERROR: fine_tuned_error(model, data.train.take(chosen), data.test, recipe=tuning, device=data.device)}


@torch.no_grad()
def started(network: Convolutional, *, seed: int) -> Autoencoder:
    """At the contract's weights times `GAIN`: from those alone, tanh units this deep learn no more than the mean."""
    model = build_autoencoder(network, seed=seed)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(GAIN)
    return model


def clustered(data: Data, seed: int, *, recipe: Recipe) -> Metrics:
    """Train the network of DCEC as an autoencoder, find ten centres of the training codes, sort the test codes."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    model, images = build_autoencoder(DCEC, seed=seed), ResidentDataset(data.train, device=data.device)
    train(model, images, recipe=recipe.with_changes(seed=seed), progress=False)
    centres = KMeans(CLASSES, n_init=RESTARTS, random_state=seed).fit(encode(model, data.train))
    clusters = centres.predict(encode(model, data.test))
    return {
        ACCURACY: clustering_accuracy(clusters, data.test.labels),
        INFORMATION: float(normalized_mutual_info_score(data.test.labels, clusters)),
        MSE: mean_squared_error(model, ResidentDataset(data.test, device=data.device)),
    }


def clustering_accuracy(clusters: np.ndarray, labels: np.ndarray) -> float:
    """The share of images in the cluster that their class is given: one each, as is best for all together."""
    from scipy.optimize import linear_sum_assignment

    together = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    np.add.at(together, (clusters, labels), 1)
    return float(together[linear_sum_assignment(together, maximize=True)].sum() / len(labels))


CYCLE = Recipe(schedule="one-cycle", validation_fraction=0)
TUNING = {  # {labels: how}
    1_000: CYCLE.with_changes(epochs=40, learning_rate=0.003),
    10_000: CYCLE.with_changes(epochs=6, learning_rate=0.002),
    55_000: CYCLE.with_changes(epochs=6, learning_rate=0.002),
}
# {labels: (from random weights, pretrained)}, error in %; the last with all 60,000
PUBLISHED = {1_000: (7.63, 7.23), 10_000: (2.21, 1.88), 55_000: (0.79, 0.71)}
NETWORKS: dict[tuple[int, ...], tuple[int, tuple[int, ...], bool]] = {  # {filters: (epochs, labels, takes a GPU)}
    (20, 30, 40): (1, (1_000, 10_000), False),
    (100, 150, 200): (20, (1_000, 10_000, 55_000), True),
}
DCEC, SLOW = preset("dcec", "conv-deep", "standard")
FAST = CYCLE.with_changes(learning_rate=0.005, batch_size=SLOW.batch_size)
CLUSTERINGS = (FAST.with_changes(epochs=1), FAST.with_changes(epochs=8), SLOW.with_changes(validation_fraction=0))


def named(filters: tuple[int, ...], labels: int, start: str) -> str:
    """The name of a row."""
    return f"{labels:,} labels, {'-'.join(map(str, filters))} filters, {start}"


def labelled_rows(filters: tuple[int, ...]) -> tuple[Row, ...]:
    """With every number of labels, from random weights and pretrained."""
    epochs, counts, gpu = NETWORKS[filters]
    network = Convolutional(
        filters=filters, kernel_sizes=(5, 5, 3), code_width=300, hidden_activation="tanh", code_activation="tanh"
    )
    pretraining = CYCLE.with_changes(epochs=epochs, learning_rate=0.005)
    return tuple(
        Row(
            name=named(filters, labels, start),
            run=partial(labelled, network=network, labels=labels, pretraining=before, tuning=TUNING[labels]),
            published={ERROR: published} if gpu else {},  # of the paper's own filters
            quick=labels == min(TUNING) and not gpu,
            gpu=gpu,
            constants=(GAIN,),
        )
        for labels in counts
        for start, before, published in zip(STARTS, (None, pretraining), PUBLISHED[labels], strict=True)
    )


def clustering_row(recipe: Recipe) -> Row:
    """k-means on the codes of a training."""
    whole = recipe.epochs == SLOW.epochs
    return Row(
        name=f"k-means on codes, {recipe.epochs} epoch{'s' * (recipe.epochs > 1)}",
        run=partial(clustered, recipe=recipe),
        published={ACCURACY: 0.849, INFORMATION: 0.7927} if whole else {},
        quick=recipe.epochs == 1,
        gpu=whole,
        seeds=1,
        constants=(DCEC, RESTARTS),
    )


TABLE = Table(
    title="Convolutional autoencoders",
    source=(
        "Masci, Meier, Ciresan, Schmidhuber, Stacked Convolutional Auto-Encoders, ICANN 2011; "
        "Guo, Liu, Zhu, Yin, Deep Clustering with Convolutional Autoencoders, ICONIP 2017"
    ),
    protocol=(
        "Labels: three convolutions of tanh units, each pooled (the paper pools two), 300 tanh units, a softmax "
        "layer, started with a gain of 5/3; pretrained as one autoencoder of all 55,000 images by cross-entropy for "
        "one epoch, where the paper "
        "trains layer by layer; the labelled images are drawn by the seed, the same with either start. A fifth of "
        "the paper's filters; its own, with 20 epochs, take days of a processor and so a GPU. k-means: ten "
        "centres, the best of 20 starts, of the ten numbers that DCEC's network makes of an image, found on "
        "training images and judged on test images, where the paper does both on all 70,000; 200 epochs take hours "
        "of a processor and so a GPU, the shorter ones are one cycle of Adam. Rates were chosen on 5,000 held-out "
        "images, with 1,000 and 10,000 labels: fine-tuning takes "
        f"{TUNING[1_000].epochs} epochs at {TUNING[1_000].learning_rate:g} with the fewest, else "
        f"{TUNING[10_000].epochs} at {TUNING[10_000].learning_rate:g}."
    ),
    metrics={ERROR: ".2f", ACCURACY: ".3f", INFORMATION: ".3f", MSE: ".5f"},
    rows=(*(row for filters in NETWORKS for row in labelled_rows(filters)), *map(clustering_row, CLUSTERINGS)),
    orderings=tuple(
        Ordering(ERROR, tuple(named(filters, labels, start) for start in STARTS))
        for filters, (_, counts, _) in NETWORKS.items()
        for labels in counts
    ),
)
