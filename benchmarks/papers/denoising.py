"""Vincent et al., JMLR 2010: what the kind and the level of corruption do to features, and to the error on labels."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.papers.fine_tuning import fine_tuned_error
from benchmarks.papers.table import ERROR, Data, Metrics, Ordering, Row, Table
from core_torch.data.corruption import Corruption
from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.spec.architecture import IMAGE_SIDE, PIXELS, FullyConnected
from core_torch.spec.recipe import Recipe
from core_torch.training.layer_by_layer.pairs import layer_inputs, layer_pair
from core_torch.training.loop import train

WINDOW = 9  # pixels a side
CLEAN, NOISY, LOCAL = "clean MSE", "noisy MSE", "filter energy in 9x9 %"


def run(
    data: Data, seed: int, *, corruption: Corruption | None, units: int, depth: int, pretraining: Recipe, tuning: Recipe
) -> Metrics:
    """Train layer by layer, look at the whole, fine-tune it."""
    recipe = pretraining.with_changes(seed=seed)
    if corruption:
        noise = {"corruption": corruption.kind, "corruption_level": corruption.level}
        recipe = recipe.with_changes(objective="denoising", **noise)
    model = stacked(ResidentDataset(data.train, device=data.device), units=units, depth=depth, recipe=recipe)
    test = ResidentDataset(data.test, device=data.device)
    metrics = {CLEAN: mean_squared_error(model, test), LOCAL: 100 * localisation(model.encoder[0].weight)}  # type: ignore[arg-type]
    if corruption:
        test.data = corruption.fixed(test.data, seed=0)
        metrics[NOISY] = mean_squared_error(model, test)
    tuning = tuning.with_changes(seed=seed)
    return {ERROR: fine_tuned_error(model, data.train, data.test, recipe=tuning, device=data.device), **metrics}


def stacked(dataset: ResidentDataset, *, units: int, depth: int, recipe: Recipe) -> Autoencoder:
    """Layers of sigmoid units, each trained with its transpose on the clean codes of those below, corrupted anew."""
    widths = (PIXELS, *[units] * depth)
    architecture = FullyConnected(widths=widths, hidden_activation="sigmoid", code_activation="sigmoid", tied=True)
    model = build_autoencoder(architecture, seed=recipe.seed)
    for index in range(depth):
        pair, inputs = layer_pair(model, index), layer_inputs(model, index, dataset)
        train(pair, inputs, recipe=recipe, criterion=nn.BCELoss(), progress=False)
    return model


@torch.no_grad()
def localisation(weight: torch.Tensor) -> float:
    """The share of squared weights in a filter's best window, averaged over filters (N, 784); 0.10 if all are equal."""
    energy = weight.square().reshape(-1, 1, IMAGE_SIDE, IMAGE_SIDE)
    best = F.avg_pool2d(energy, WINDOW, stride=1).flatten(1).amax(1) * WINDOW**2
    return float((best / energy.sum((1, 2, 3))).mean())


CYCLE = Recipe(schedule="one-cycle", validation_fraction=0, learning_rate=0.01)
SLOWER = CYCLE.with_changes(learning_rate=0.005)
SIZES = {  # {name: (units, depth, pretraining of a layer, fine-tuning)}
    "200 units": (200, 1, CYCLE.with_changes(epochs=3), CYCLE.with_changes(epochs=5)),
    "500 units": (500, 1, CYCLE.with_changes(epochs=5), CYCLE.with_changes(epochs=6)),
    "three layers of 1000": (1000, 3, SLOWER.with_changes(epochs=4), SLOWER.with_changes(epochs=6)),
}
QUICK_SIZE, QUICK_WAYS = "200 units", ("no noise", "gaussian 0.3", "masking 0.1", "masking 0.25", "masking 0.4")
LEVELS = {"gaussian": (0.15, 0.3, 0.5), "masking": (0.1, 0.25, 0.4), "salt-and-pepper": (0.1, 0.25, 0.4)}
CORRUPTIONS = {f"{kind} {level}": Corruption(kind, level) for kind, levels in LEVELS.items() for level in levels}
WAYS: dict[str, Corruption | None] = {"no noise": None} | CORRUPTIONS
PUBLISHED = {"no noise": 1.40, "masking 0.25": 1.28}  # SAE-3 and SDAE-3 of the paper's table 3, error in %


def row(way: str, size: str) -> Row:
    """One way of corrupting, in one size."""
    units, depth, pretraining, tuning = SIZES[size]
    return Row(
        name=f"{way}, {size}",
        run=partial(run, corruption=WAYS[way], units=units, depth=depth, pretraining=pretraining, tuning=tuning),
        published={ERROR: PUBLISHED[way]} if depth == 3 else {},
        quick=size == QUICK_SIZE,
        seeds=3 if size == "500 units" else 1,
        constants=(WINDOW,),
        why="narrower layers, and fewer epochs by another optimizer, which no row tells apart." if depth == 3 else "",
    )


ROWS = (
    *(row(way, QUICK_SIZE) for way in QUICK_WAYS),
    *(row(way, "500 units") for way in WAYS),
    *(row(way, "three layers of 1000") for way in PUBLISHED),
)


GATHERED_FILTERS = "here noise draws filters together, for which no row has the cause; the paper shows larger features"


def orderings() -> Iterator[Ordering]:
    """Noise lowers the error; the more of a kind, the larger the features. Of the rows that there are."""
    names = {each.name for each in ROWS}
    for size in SIZES:
        for kind, levels in LEVELS.items():
            noisy = tuple(name for level in levels if (name := f"{kind} {level}, {size}") in names)
            yield from (Ordering(ERROR, (f"no noise, {size}", name)) for name in noisy)
            if len(noisy) > 1:
                yield Ordering(LOCAL, noisy, why=GATHERED_FILTERS)


TABLE = Table(
    title="Denoising autoencoders",
    source="Vincent, Larochelle, Lajoie, Bengio, Manzagol, Stacked Denoising Autoencoders, JMLR 11, 2010, table 3",
    protocol=(
        "Sigmoid units, tied decoders and cross-entropy; noise is drawn anew at each presentation, Gaussian noise "
        "is clipped to [0, 1], which the paper's is not, and a layer "
        "above the first learns from the clean code below it, corrupted again, as in the paper. Then fine-tuned "
        "with a softmax layer. On 55,000 images, by one cycle of Adam at 0.01 (0.005 with three layers), 3 to 5 "
        "epochs a layer and 5 or 6 of fine-tuning; the paper's layers have 1000 to 3000 units and up to 300 "
        "epochs, and its table has three of them, so that only our rows of three layers stand beside published "
        "figures (SAE-3 and SDAE-3, whose noise was chosen on validation images to be 25 %). Noisy MSE is of the "
        "clean pixels, seen through the noise of the row, the same noise for all seeds. Filter energy: the share "
        "of a first-layer filter's squared weights in the 9 x 9 window that holds most, 10 % if all weights are "
        "equal."
    ),
    metrics={ERROR: ".2f", CLEAN: ".5f", NOISY: ".5f", LOCAL: ".1f"},
    rows=ROWS,
    orderings=tuple(orderings()),
)
