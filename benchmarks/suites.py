"""The suites: what is proved, what is then timed, at what size."""

from dataclasses import dataclass

from benchmarks.parity.matrix import DOUBLE, EIGHTEEN, EVERY_OPTIMIZER, FRESH, LONG, STANDARD, Cell

# Images; a smaller dataset is repeated up to these sizes, and the table says so. A step costs the same whatever
# the image, so training needs no more of them than make an epoch long beside its start.
LOADING_SIZE = 60_000
TRAINING_SIZE = 20_000


@dataclass(frozen=True)
class Suite:
    """Which parts run."""

    cells: tuple[Cell, ...] = ()  # proved
    loading_batches: tuple[int, ...] = ()  # images
    training: tuple[tuple[str, int], ...] = ()  # (model, images per batch)
    blocks: int = 10  # pairs of every ratio


TIMED = ("shallow", "deep")
PROVED = tuple(cell for cell in (*FRESH, *STANDARD) if cell.model in TIMED)

SUITES = {
    "agreement": Suite(cells=(*EIGHTEEN, *FRESH, *DOUBLE, *EVERY_OPTIMIZER, *LONG)),
    "loading": Suite(loading_batches=(32, 512, 1000)),
    "training": Suite(cells=PROVED, training=(("shallow", 512), ("deep", 512))),
    "quick": Suite(cells=PROVED, loading_batches=(512,), training=(("shallow", 512),), blocks=6),
    "full": Suite(
        cells=(*EIGHTEEN, *FRESH),
        loading_batches=(32, 512, 1000),
        training=(("shallow", 32), ("shallow", 512), ("shallow", 1000), ("deep", 512)),
        blocks=15,
    ),
}
