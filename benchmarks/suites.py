"""The suites: what is proved, what is then timed, at what size."""

from dataclasses import dataclass

from benchmarks.ports.frameworks import Framework
from benchmarks.timing.quality import ORIGINALS, Original
from core_torch.parity.matrix import DOUBLE, EIGHTEEN, EVERY_OPTIMIZER, FRESH, LONG, STANDARD, Cell

# Images; a smaller dataset is repeated up to these sizes, and the table says so. A step costs the same whatever
# the image, so training needs no more of them than make an epoch long beside its start.
MNIST_SIZE = 60_000
TRAINING_SIZE = 12_800
SMALL_BATCH_SIZE = 6_400  # where a step costs much for each image
CONVOLUTIONAL_SIZE = 2_000


@dataclass(frozen=True)
class Training:
    """A model, images per batch, an optimizer of `RECIPES`, images per epoch, and whether by every variant."""

    model: str
    batch_size: int = 512
    optimizer: str = "sgd"
    images: int = TRAINING_SIZE
    extras: bool = False

    def __str__(self) -> str:
        kind = "" if self.optimizer == "sgd" else f" by {self.optimizer}"
        return f"training {self.model}{kind}, batch {self.batch_size}"


@dataclass(frozen=True)
class Loading:
    """Images per batch, images per epoch, and whether by every loader."""

    batch_size: int = 512
    images: int = MNIST_SIZE
    extras: bool = True

    def __str__(self) -> str:
        return f"loading, batch {self.batch_size}"


@dataclass(frozen=True)
class Scaling:
    """One variant over datasets of these many images, side by side: the time of an image should stay."""

    variant: str  # of SCALING
    images: tuple[int, ...] = (1_000, MNIST_SIZE, 240_000)
    batch_size: int = 500

    def __str__(self) -> str:
        return f"scaling, {self.variant}, batch {self.batch_size}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The contenders, as tables print them."""
        return tuple(f"{count:,} images" for count in self.images)


SCALING = Framework(
    "benchmarks.loaders.scaling",
    {
        "resident": "FastMNIST, uint8 residency",
        "compiled": "the same, by a compiled loop",
        "streamed": "the same split on the host, chunks of it on the device",
        "training": "the readable loop's steps of the shallow model on resident batches",
        "epoch start": "what is done before the first batch",
    },
    "torch",
)
SCALINGS = tuple(Scaling(variant) for variant in SCALING.variants)
SCALING_ON_CPU = frozenset({"compiled"})


@dataclass(frozen=True)
class Suite:
    """Which parts run."""

    cells: tuple[Cell, ...] = ()  # proved
    training: tuple[Training, ...] = ()
    loading: tuple[Loading, ...] = ()
    blocks: int = 10  # pairs of every ratio
    scaling: tuple[Scaling, ...] = ()
    quality: tuple[Original, ...] = ()  # errors to reach
    with_closed_form: bool = False  # the closed form against gradient descent
    is_calibrated: bool = False  # a GPU's own operations, before anything else


TIMED_MODELS = ("shallow", "deep")
PROVED_CELLS = tuple(cell for cell in (*FRESH, *STANDARD) if cell.model in TIMED_MODELS)

SUITES = {
    "agreement": Suite(cells=(*EIGHTEEN, *FRESH, *DOUBLE, *EVERY_OPTIMIZER, *LONG)),
    "loading": Suite(loading=(Loading(32), Loading(512), Loading(1000))),
    "scaling": Suite(scaling=SCALINGS),
    "quality": Suite(quality=ORIGINALS, with_closed_form=True),
    "training": Suite(cells=PROVED_CELLS, training=(Training("shallow", extras=True), Training("deep"))),
    "quick": Suite(
        cells=PROVED_CELLS, training=(Training("shallow"),), loading=(Loading(images=30_000, extras=False),)
    ),
    "full": Suite(
        cells=(*EIGHTEEN, *FRESH),
        training=(
            Training("shallow", extras=True),
            *(Training("shallow", batch_size) for batch_size in (500, 1000)),
            Training("shallow", 32, images=SMALL_BATCH_SIZE),
            Training("shallow", optimizer="adam"),
            Training("deep"),
            Training("deep", 32, images=SMALL_BATCH_SIZE),
            Training("conv-shallow", images=CONVOLUTIONAL_SIZE),
            Training("conv-deep", images=CONVOLUTIONAL_SIZE),
        ),
        loading=(
            *(Loading(batch_size) for batch_size in (32, 500, 512, 1000)),
            *(Loading(images=images) for images in (1_000, 6_000)),
        ),
        scaling=SCALINGS,
        quality=ORIGINALS,
        with_closed_form=True,
        is_calibrated=True,
    ),
}
