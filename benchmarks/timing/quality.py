"""How good, and how soon: trainings that are held to an error on images they have not seen."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from benchmarks.ports.frameworks import CLOSED_FORM, GRADIENT_DESCENT
from benchmarks.ports.process import Worker
from benchmarks.ports.sample import Sample
from benchmarks.ports.timed_port import Case
from core_torch.files.splits import Split, to_unit_range
from core_torch.parity.judge import Check
from core_torch.spec.presets import preset
from core_torch.spec.recipe import Recipe

QUALITY = "time to quality"  # what cases begin with in which a training is held to an error
TIMEOUT_SECONDS = 7200  # of one training
EPOCH_DIVISOR = 20  # a training may take so many times fewer epochs than the original
TIME_BUDGET = 100  # of gradient descent, as a multiple of the closed form's time
BUDGET_MARGIN = 2  # of that: an epoch of a long training takes up to a third less time than the one that is timed first
CLOSED_FORM_MODEL = "randomized-shallow"
REPETITIONS = 10  # of the closed form, half of them after gradient descent


@dataclass(frozen=True)
class Original:
    """A category's least test error per pixel on MNIST in the repository that this one follows, and its epochs.

    Attributes:
        changes: of the preset's recipe: the noise of that error, and where the preset has too many epochs what served
            best on held-out images.
    """

    model: str
    objective: str
    mse: float
    epochs: int
    changes: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{QUALITY}, {self.model} {self.objective}"

    @property
    def allowed(self) -> int:
        """Return the epochs in which to reach it: those of the preset, if they are few enough."""
        return min(preset("best", self.model, self.objective)[1].epochs, self.epochs // EPOCH_DIVISOR)

    def recipe(self, *, seed: int) -> Recipe:
        """Return the recipe that is used to reach this error."""
        return preset_recipe(self.model, self.objective, epochs=self.allowed, seed=seed).with_changes(**self.changes)

    @property
    def contender(self) -> str:
        """As tables print it."""
        changes = "".join(f", {name} {value:g}" for name, value in self.changes.items()).replace("_", " ")
        return f"preset best, {self.allowed} epochs{changes}"

    @property
    def check(self) -> str:
        """As tables print it."""
        return f"the error of {self.epochs} epochs of the original"


FEW_EPOCHS = {"batch_size": 16, "learning_rate": 0.002}  # of the deep model: best of eight tries
# Not the contractive ones: the original counts its penalty in, the norm of a product of weights, and prints the sum.
ORIGINALS = (
    Original("shallow", "standard", 0.00198, 500),
    Original("deep", "standard", 0.01347, 100, FEW_EPOCHS),
    Original("conv-shallow", "standard", 0.00206, 500),
    Original("conv-deep", "standard", 0.00213, 500),
    Original("shallow", "denoising", 0.01028, 500),
    Original("deep", "denoising", 0.01750, 100, {"corruption_level": 0.1, **FEW_EPOCHS}),
    Original("conv-shallow", "denoising", 0.00694, 500),
    Original("conv-deep", "denoising", 0.00552, 100, {"corruption_level": 0.1}),
)


def preset_recipe(model: str, objective: str = "standard", *, epochs: int, seed: int) -> Recipe:
    """Return the recipe of the preset `best`, with no image held out for validation."""
    return preset("best", model, objective)[1].with_changes(epochs=epochs, seed=seed, validation_fraction=0.0)


def time_to_quality(original: Original, worker: Worker, split: Split, *, device: str, seed: int) -> Check:
    """Train in the epochs allowed, and check that the error is no larger than the original's."""
    case = Case(framework="quality", variant="best", model=original.model, device=device)
    worker.prepare(case, split, original.recipe(seed=seed))
    worker.time(0)
    error = worker.error()
    name = f"{original}, {split.name}"
    return Check(name, original.contender, original.check, error, original.mse, error <= original.mse)


@dataclass(frozen=True)
class ClosedFormTimes:
    """What the closed form and gradient descent took, and whether the closed form's error is still no larger."""

    name: str
    samples: dict[str, list[Sample]]
    errors: dict[str, float]
    checks: list[Check]

    @property
    def is_proved(self) -> bool:
        """Whether the closed form is as good, and gradient descent better than the mean image."""
        return all(check.passed for check in self.checks)


def time_closed_form(
    workers: Mapping[str, Worker], split: Split, *, device: str, clock: str, seed: int, log: Callable[[str], None]
) -> ClosedFormTimes:
    """Give gradient descent `TIME_BUDGET` times the time of the closed form, and compare their errors."""
    name = f"{CLOSED_FORM}, {CLOSED_FORM_MODEL}, {split.name}"
    closed, descent = workers[CLOSED_FORM], workers[GRADIENT_DESCENT]

    def prepare(worker: Worker, variant: str, epochs: int) -> None:
        case = Case(framework="quality", variant=variant, model=CLOSED_FORM_MODEL, device=device)
        worker.prepare(case, split, preset_recipe(CLOSED_FORM_MODEL, epochs=epochs, seed=seed))

    prepare(closed, CLOSED_FORM, 1)
    closed.time(0)
    before = [closed.time(0) for _ in range(REPETITIONS // 2)]
    prepare(descent, GRADIENT_DESCENT, 1)
    descent.time(0)
    seconds = median(sample.per_image(clock) for sample in before)
    epochs = math.ceil(BUDGET_MARGIN * TIME_BUDGET * seconds / descent.time(0).per_image(clock))
    log(f"{name}: {seconds * 1e6:.0f} us an image in closed form, {epochs} epochs of gradient descent")
    prepare(descent, GRADIENT_DESCENT, epochs)
    long = descent.time(0)
    samples = before + [closed.time(0) for _ in range(REPETITIONS - len(before))]
    own, other = closed.error(), descent.error()
    mean = float(np.var(to_unit_range(split.images), axis=0, dtype=np.float64).mean())
    return ClosedFormTimes(
        name,
        {CLOSED_FORM: samples, GRADIENT_DESCENT: [long] * len(samples)},
        {CLOSED_FORM: own, GRADIENT_DESCENT: other},
        [
            Check(name, CLOSED_FORM, f"the error of {epochs} epochs of gradient descent", own, other, own <= other),
            Check(name, GRADIENT_DESCENT, "the error of the mean image", other, mean, other < mean),
        ],
    )
