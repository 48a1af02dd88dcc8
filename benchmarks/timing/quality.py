"""How good, and how soon: trainings that are held to an error on images they have not seen."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.ports.frameworks import Framework
from benchmarks.ports.process import Worker
from benchmarks.ports.timed_port import Case
from benchmarks.report.results_file import QUALITY, Results, Work, digest_of
from core_torch.files.splits import Split, to_unit_range
from core_torch.parity.judge import Check
from core_torch.spec.presets import preset
from core_torch.spec.recipe import Recipe

TIMEOUT_SECONDS = 7200  # of one training
FEWER = 20  # times the original's epochs may be
ADVANTAGE = 100  # times as long as the closed form does gradient descent get
MARGIN = 2  # of that: epochs of a long training are shorter, by up to a third, than the one they are reckoned from
CLOSED_FORM, GRADIENT_DESCENT = "closed form", "gradient descent"
RACED = "randomized-shallow"  # the model of both
REPETITIONS = 10  # of the closed form, half of them after gradient descent

ROUTES = {
    "best": "the preset of that name, or with the changes of `ORIGINALS`, from scratch",
    CLOSED_FORM: "the randomized model's decoder by ridge regression",
    GRADIENT_DESCENT: "the same decoder by the preset's optimizer",
}
FRAMEWORK = Framework("benchmarks.ports.quality", ROUTES, "torch")


@dataclass(frozen=True)
class Original:
    """A category's least test error per pixel on MNIST in the repository that this one follows, and its epochs.

    `changes` are of the preset's recipe: the noise of that error, and what served best on held-out images where the
    preset's epochs are more than those allowed.
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
        """Epochs in which to reach it: those of the preset, if they are few enough."""
        return min(preset("best", self.model, self.objective)[1].epochs, self.epochs // FEWER)

    def recipe(self, *, seed: int) -> Recipe:
        """That is held to it."""
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
    """Of the preset `best`, on all images that are trained on."""
    return preset("best", model, objective)[1].with_changes(epochs=epochs, seed=seed, validation_fraction=0.0)


def reach(original: Original, worker: Worker, split: Split, *, device: str, seed: int) -> Check:
    """Train in the epochs allowed; whether the error is no larger than the original's."""
    case = Case(framework="quality", route="best", model=original.model, device=device)
    worker.prepare(case, split, original.recipe(seed=seed))
    worker.time(0)
    error = worker.error()
    name = f"{original}, {split.name}"
    return Check(name, original.contender, original.check, error, original.mse, error <= original.mse)


def race(
    results: Results, workers: dict[str, Worker], split: Split, *, device: str, seed: int, say: Callable[[str], None]
) -> Check:
    """Give gradient descent `ADVANTAGE` times the time of the closed form: is its error still no smaller?"""
    name = f"{CLOSED_FORM}, {RACED}, {split.name}"
    closed, descent = workers[CLOSED_FORM], workers[GRADIENT_DESCENT]

    def prepare(worker: Worker, route: str, epochs: int) -> None:
        case = Case(framework="quality", route=route, model=RACED, device=device)
        worker.prepare(case, split, preset_recipe(RACED, epochs=epochs, seed=seed))

    prepare(closed, CLOSED_FORM, 1)
    closed.time(0)
    before = [closed.time(0) for _ in range(REPETITIONS // 2)]
    prepare(descent, GRADIENT_DESCENT, 1)
    descent.time(0)
    clock = results.clock
    seconds = np.median([sample.per_image(clock) for sample in before])
    epochs = math.ceil(MARGIN * ADVANTAGE * seconds / descent.time(0).per_image(clock))
    say(f"{name}: {seconds * 1e6:.0f} us an image in closed form, {epochs} epochs of gradient descent")
    prepare(descent, GRADIENT_DESCENT, epochs)
    long = descent.time(0)
    samples = before + [closed.time(0) for _ in range(REPETITIONS - len(before))]
    errors = {CLOSED_FORM: closed.error(), GRADIENT_DESCENT: descent.error()}
    own, other = errors.values()
    mean = float(np.var(to_unit_range(split.images), axis=0, dtype=np.float64).mean())
    checks = [
        Check(name, CLOSED_FORM, f"the error of {epochs} epochs of gradient descent", own, other, own <= other),
        Check(name, GRADIENT_DESCENT, "the error of the mean image", other, mean, other < mean),
    ]
    proofs = results.add_checks(checks)
    if own <= other < mean:
        timed = {CLOSED_FORM: samples, GRADIENT_DESCENT: [long] * len(samples)}
        works = {label: Work([proof], digest_of([np.array(errors[label])])) for label, proof in zip(timed, proofs)}
        results.add_times(name, timed, works, baseline=GRADIENT_DESCENT)
    return checks[0]
