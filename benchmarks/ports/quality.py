"""Trainings by core_torch that are held to an error: see `quality`."""

from benchmarks.ports.frameworks import CLOSED_FORM, QUALITY
from benchmarks.ports.timed_port import Case
from core_torch.data.resident import ResidentDataset
from core_torch.evaluation.report import noisy_mean_squared_error
from core_torch.files.splits import Split
from core_torch.models.autoencoder import build_autoencoder
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.spec.errors import check_choice
from core_torch.spec.presets import preset
from core_torch.spec.recipe import Recipe
from core_torch.training.candidate import pin_precision
from core_torch.training.layer_by_layer.randomized import train_randomized
from core_torch.training.loop import train

HELD_OUT = 1 / 6  # of the images: 10,000 of MNIST's 60,000


class QualityTrial:
    """One training of the preset's architecture from scratch, by `recipe`, is an epoch here."""

    def __init__(self, case: Case, split: Split, recipe: Recipe) -> None:
        check_choice("variant", case.variant, QUALITY.variants)
        self.case, self.recipe = case, recipe
        self.architecture, _ = preset("best", str(case.model), recipe.objective)
        self.kept, self.held = ResidentDataset(split, device=case.device).hold_out(HELD_OUT, seed=recipe.seed)

    def epoch(self, epoch: int) -> int:
        """Train; the number of images that are trained on."""
        model = build_autoencoder(self.architecture, seed=self.recipe.seed)
        if self.case.variant == "best":
            train(model, self.kept, recipe=self.recipe, progress=False)
            self.trained = model
        else:
            solver = "ridge" if self.case.variant == CLOSED_FORM else "gradient-descent"
            options = {"recipe": self.recipe, "solver": solver, "refit": False, "progress": False}
            # Random encoder and decoder as they are before the transpose: the problem that both solve.
            self.trained = train_randomized(model, self.kept, **options)[0].pair  # type: ignore[arg-type]
        return len(self.kept)

    def error(self) -> float:
        """Squared error per pixel of the held-out images; of noisy ones where the objective is denoising."""
        if self.recipe.objective == "denoising":
            return noisy_mean_squared_error(self.trained, self.held, self.recipe)
        return mean_squared_error(self.trained, self.held)


def prepare(case: Case, split: Split, recipe: Recipe) -> QualityTrial:
    """The trial of a case."""
    pin_precision()
    return QualityTrial(case, split, recipe)
