"""What momentum does for a deep autoencoder: the MNIST column of Sutskever, Martens, Dahl, Hinton 2013."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch.func import functional_call

from benchmarks.papers.hinton import (
    SPARSE_START,
    MomentumSchedule,
    cross_entropy,
    error_per_image,
    presentations,
    sparse_network,
    train_hinton,
)
from benchmarks.papers.table import Data, Metrics, Ordering, Row, Table
from core_torch.data.resident import ResidentDataset
from core_torch.spec.errors import DivergenceError
from core_torch.spec.recipe import Recipe
from core_torch.training.ensemble import Ensemble, Stack

PUBLISHED = {0.0: 2.1, 0.9: 1.0, 0.99: 0.73, 0.995: 0.75, 0.999: 0.80}  # {largest momentum: training error}
UPDATES, PERIOD, SETTLING = 750_000, 250, 1_000  # the paper's
RATES = (0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001)  # the paper's, of which the best training error counts
SHORT_UPDATES, SHORT_PERIOD = 1_000, 12
# {largest momentum: rates, of which the first is the best after so few updates}
SHORT_RATES = {0.0: (0.01, 0.05, 0.005), 0.9: (0.01, 0.05, 0.005), 0.99: (0.005, 0.01, 0.001)}


def short_run(data: Data, seed: int, *, momentum: float, rate: float) -> Metrics:
    """One rate, few updates."""
    model = sparse_network(seed=seed)
    whole = ResidentDataset(data.whole, device=data.device)
    train_hinton(
        model, whole, updates=SHORT_UPDATES, period=SHORT_PERIOD, learning_rate=rate, momentum=momentum, seed=seed
    )
    return {"train SSE": error_per_image(model, whole), "learning rate": rate}


class HintonEnsemble(Ensemble):
    """Networks that differ in the learning rate, trained at once on the same batches."""

    def _loss(self, weights: Stack, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(functional_call(self.model, weights, (inputs,)), targets)


def best_of_rates(
    data: Data, seed: int, *, momentum: float, updates: int = UPDATES, rates: Sequence[float] = RATES
) -> Metrics:
    """The paper's protocol: every rate, and the one with the smallest training error in the end."""
    whole = ResidentDataset(data.whole, device=data.device)
    models = [sparse_network(seed=seed) for _ in rates]
    recipe = Recipe(optimizer="sgd", momentum=momentum, nesterov=momentum > 0, seed=seed)
    ensemble = HintonEnsemble(models, whole, [recipe.with_changes(learning_rate=rate) for rate in rates], steps=updates)
    period, settling = max(PERIOD * updates // UPDATES, 1), SETTLING * updates // UPDATES
    schedule = MomentumSchedule(ensemble.optimizer, largest=momentum, period=period, updates=updates, settling=settling)
    for inputs, targets in presentations(whole, updates=updates, seed=seed):
        ensemble.step(*(batch.expand(len(rates), *batch.shape) for batch in (inputs, targets)))
        schedule.step()
    ensemble.release(models)
    errors = [error_per_image(model, whole) for model in models]
    finite = {error: rate for error, rate in zip(errors, rates) if math.isfinite(error)}
    if not finite:
        raise DivergenceError(f"momentum {momentum}: every learning rate diverged")
    return {"train SSE": min(finite), "learning rate": finite[min(finite)]}


def _short(momentum: float, rate: float | None = None) -> str:
    """The name of a row; of another rate than the best, with it."""
    other = f" at {rate:g}" if rate not in (None, SHORT_RATES[momentum][0]) else ""
    return f"momentum {momentum:g}{other}, {SHORT_UPDATES:,} updates"


def _short_row(momentum: float, rate: float) -> Row:
    best = rate == SHORT_RATES[momentum][0]
    return Row(
        name=_short(momentum, rate),
        run=partial(short_run, momentum=momentum, rate=rate),
        quick=best,
        seeds=3 if best else 1,
        constants=(*SPARSE_START, SHORT_UPDATES, SHORT_PERIOD),
    )


TABLE = Table(
    title="Sutskever, Martens, Dahl, Hinton 2013: momentum",
    source="On the importance of initialization and momentum in deep learning, ICML 2013, table 1, MNIST, Nesterov's",
    protocol=(
        "Training error, squared and summed over the pixels of an image, of 784-1000-500-250-30 from a sparse start. "
        f"The paper makes {UPDATES:,} updates of 200 images with each of {len(RATES)} learning rates: rows that need a "
        f"GPU, where the rates are trained at once. Elsewhere {SHORT_UPDATES:,} updates at the rate that does best "
        "after so few by the training error, as in the paper (its neighbours stand beside it), momentum rising every "
        f"{SHORT_PERIOD} updates instead of every {PERIOD}, and without the paper's last {SETTLING:,} updates at 0.9: "
        "the order counts."
    ),
    metrics={"train SSE": ".2f", "learning rate": "g"},
    rows=(
        *(_short_row(momentum, rate) for momentum, rates in SHORT_RATES.items() for rate in rates),
        *(
            Row(
                name=f"momentum {momentum:g}, {UPDATES:,} updates",
                run=partial(best_of_rates, momentum=momentum),
                published={"train SSE": error},
                quick=False,
                gpu=True,
                seeds=1,
                constants=(*SPARSE_START, UPDATES, PERIOD, SETTLING, RATES),
            )
            for momentum, error in PUBLISHED.items()
        ),
    ),
    orderings=(
        Ordering("train SSE", tuple(map(_short, SHORT_RATES))),
        Ordering("train SSE", tuple(f"momentum {momentum:g}, {UPDATES:,} updates" for momentum in SHORT_RATES)),
    ),
)
