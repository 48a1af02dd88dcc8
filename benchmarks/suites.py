"""The suites: what is proved, what is then timed, at what size."""

from dataclasses import dataclass

# Images; a smaller dataset is repeated up to these sizes, and the table says so. A step costs the same whatever
# the image, so training needs no more of them than make an epoch long beside its start.
LOADING_SIZE = 60_000
TRAINING_SIZE = 20_000


@dataclass(frozen=True)
class Suite:
    """Which parts run."""

    agreement_models: tuple[str, ...] = ("shallow", "deep")
    loading_batches: tuple[int, ...] = ()  # images
    training: tuple[tuple[str, int], ...] = ()  # (model, images per batch)
    blocks: int = 10  # pairs of every ratio


SUITES = {
    "agreement": Suite(),
    "loading": Suite(agreement_models=(), loading_batches=(32, 512, 1000)),
    "training": Suite(training=(("shallow", 512), ("deep", 512))),
    "quick": Suite(loading_batches=(512,), training=(("shallow", 512),), blocks=6),
    "full": Suite(
        loading_batches=(32, 512, 1000),
        training=(("shallow", 32), ("shallow", 512), ("shallow", 1000), ("deep", 512)),
        blocks=15,
    ),
}
