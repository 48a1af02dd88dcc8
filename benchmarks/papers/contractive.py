"""Rifai et al., ICML 2011, table 1: five ways to train one hidden layer, and what each makes of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch.nn import functional as F

from benchmarks.papers.fine_tuning import fine_tuned_error
from benchmarks.papers.table import ERROR, Data, Metrics, Ordering, Row, Table
from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.objectives.jacobian import jacobian_norm_squared
from core_torch.objectives.last_input import LastInput
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.spec.architecture import PIXELS, FullyConnected
from core_torch.spec.recipe import Recipe
from core_torch.training.loop import train

SATURATED = 0.05  # a unit this close to 0 or 1 counts as saturated
NORM, PER_ENTRY, SATURATION, MSE = "norm of J", "squared norm per entry", "saturated %", "MSE"

Penalty = Callable[[Autoencoder, torch.Tensor], torch.Tensor]


def contraction(model: Autoencoder, images: torch.Tensor) -> torch.Tensor:
    """The mean squared norm of the encoder's Jacobian."""
    return jacobian_norm_squared(model, images).mean()


def weight_decay(model: Autoencoder, images: torch.Tensor) -> torch.Tensor:
    """The sum of the squared weights, which are tied."""
    return model.encoder[0].weight.square().sum()  # type: ignore[operator]


@dataclass(frozen=True, kw_only=True)
class Way:
    """A line of the paper's table, and how it is trained here; `weight` is of an error summed over pixels."""

    error: float = field(repr=False)
    norm: float = field(repr=False)  # in the paper's unit, 1e-4
    saturation: float = field(repr=False)
    noise: tuple[str, float] | None = None
    penalty: Penalty | None = None
    weight: float = 0.0


WAYS = {
    "CAE": Way(error=1.14, norm=0.73, saturation=86.36, penalty=contraction, weight=0.3),
    "DAE-g": Way(error=1.18, norm=0.86, saturation=17.77, noise=("gaussian", 0.3)),
    "DAE-b": Way(error=1.57, norm=7.87, saturation=68.19, noise=("masking", 0.4)),
    "AE+wd": Way(error=1.68, norm=5.00, saturation=12.97, penalty=weight_decay, weight=0.03),
    "AE": Way(error=1.78, norm=17.5, saturation=49.90),
}


class PenalizedCrossEntropy:
    """Cross-entropy averaged over pixels, and a penalty at the images last fed; `criterion(output, target)`."""

    def __init__(self, model: Autoencoder, penalty: Penalty | None, *, weight: float) -> None:
        self.model, self.penalty, self.weight = model, penalty, weight
        self.fed = LastInput(model)

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The scalar to minimise, for output and target (N, 784)."""
        images = self.fed.matching(output)
        penalty = self.penalty(self.model, images) if self.penalty else 0.0
        return F.binary_cross_entropy(output, target) + self.weight / PIXELS * penalty


def run(data: Data, seed: int, *, way: Way, units: int, pretraining: Recipe, tuning: Recipe) -> Metrics:
    """Train the layer, look at it, then fine-tune it."""
    architecture = FullyConnected(widths=(PIXELS, units), code_activation="sigmoid", tied=True)
    model = build_autoencoder(architecture, seed=seed)
    recipe = pretraining.with_changes(seed=seed)
    if way.noise:
        recipe = recipe.with_changes(objective="denoising", corruption=way.noise[0], corruption_level=way.noise[1])
    criterion = PenalizedCrossEntropy(model, way.penalty, weight=way.weight)
    train(model, ResidentDataset(data.train, device=data.device), recipe=recipe, criterion=criterion, progress=False)
    metrics = looked_at(model, ResidentDataset(data.test, device=data.device))
    tuning = tuning.with_changes(seed=seed)
    return {ERROR: fine_tuned_error(model, data.train, data.test, recipe=tuning, device=data.device), **metrics}


@torch.no_grad()
def looked_at(model: Autoencoder, dataset: ResidentDataset) -> dict[str, float]:
    """The Jacobian, the saturation and the reconstruction error over a whole dataset."""
    squared = jacobian_norm_squared(model, dataset.data).double()
    codes = model.encode(dataset.data)
    saturated = (codes < SATURATED) | (codes > 1 - SATURATED)
    return {
        NORM: float(squared.sqrt().mean()),
        PER_ENTRY: float(squared.mean()) / (PIXELS * codes.shape[1]),
        SATURATION: 100 * float(saturated.double().mean()),
        MSE: mean_squared_error(model, dataset),
    }


CYCLE = Recipe(schedule="one-cycle", validation_fraction=0, learning_rate=0.01)
PROTOCOL = "the optimizer, the epochs, and penalties and noise chosen anew, which no row tells apart."
SIZES = {  # {name: (units, pretraining, fine-tuning, whether it is quick)}
    "200 units": (200, CYCLE.with_changes(epochs=4), CYCLE.with_changes(epochs=5), True),
    "1000 units": (1000, CYCLE.with_changes(epochs=6), CYCLE.with_changes(epochs=8), False),
}


def rows() -> tuple[Row, ...]:
    """Every way in every size."""
    return tuple(
        Row(
            name=f"{name}, {size}",
            run=partial(run, way=way, units=units, pretraining=pretraining, tuning=tuning),
            published={} if quick else {ERROR: way.error, SATURATION: way.saturation},  # of 1000 units
            quick=quick,
            seeds=1 if quick else 3,
            constants=(SATURATED,),
            why="" if quick else PROTOCOL,
        )
        for size, (units, pretraining, tuning, quick) in SIZES.items()
        for name, way in WAYS.items()
    )


WEAK_NOISE = "Gaussian noise lowers J little here, and in the paper more than all but the penalty do"


def orderings() -> tuple[Ordering, ...]:
    """The paper's, of norm and error, largest first; and that the CAE has less of both than the plain AE."""
    by_norm = sorted(WAYS, key=lambda name: -WAYS[name].norm)
    by_error = sorted(WAYS, key=lambda name: -WAYS[name].error)
    return tuple(
        Ordering(metric, tuple(f"{name}, {size}" for name in names), why=why if "DAE-g" in names else "")
        for size in SIZES
        for metric, whole, why in ((NORM, by_norm, WEAK_NOISE), (ERROR, by_error, ""))
        for names in (whole, (whole[0], whole[-1]))
    )


TABLE = Table(
    title="Contractive autoencoders",
    source="Rifai, Vincent, Muller, Glorot, Bengio, Contractive Auto-Encoders, ICML 2011, table 1, MNIST",
    protocol=(
        "Sigmoid units, tied decoder and cross-entropy, as in the paper, then fine-tuned with a softmax layer; on "
        "55,000 images, by one cycle of Adam at 0.01, 6 epochs and 8 of fine-tuning (4 and 5 with 200 units), "
        "where the paper runs stochastic gradient descent until its validation error stops falling. Penalties and "
        "noise are the best of the few that were tried with 1000 units on 5,000 held-out images: 0.3 times the "
        "squared norm of J, 0.03 times that of the weights, both beside an error summed over pixels, Gaussian "
        "noise of 0.3 (clipped to [0, 1], which the paper's is not), 40 % masked. J is the encoder's Jacobian on test "
        "images before fine-tuning; its squared "
        f"norm is also divided by its entries. Saturated is below {SATURATED} or above {1 - SATURATED}, our "
        "reading of SAT. Of the paper's rows, the restricted Boltzmann machine is left out. Its mean norms are on a "
        "scale that it does not state: "
        f"{', '.join(f'{name} {way.norm}e-4' for name, way in WAYS.items())}."
    ),
    metrics={ERROR: ".2f", NORM: ".2f", PER_ENTRY: ".2e", SATURATION: ".1f", MSE: ".5f"},
    rows=rows(),
    orderings=orderings(),
)
