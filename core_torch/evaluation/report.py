"""The figures that every trained model is reported with."""

from copy import copy

import torch

from core_torch.data.corruption import Corruption
from core_torch.data.resident import ResidentDataset
from core_torch.data.storage import to_unit_range
from core_torch.evaluation.jacobian import code_variance, mean_jacobian_norm_squared
from core_torch.evaluation.probe import NEIGHBOURS, probe
from core_torch.files.metrics import EVALUATION_NOISE_SEED, model_metrics
from core_torch.files.splits import Split
from core_torch.models.autoencoder import Autoencoder
from core_torch.objectives.reconstruction import mean_squared_error, squared_error
from core_torch.spec.errors import ConfigError
from core_torch.spec.extras import check_installed
from core_torch.spec.recipe import Recipe


def measure(
    model: Autoencoder, train: Split, test: Split, *, device: torch.device, recipe: Recipe | None = None
) -> dict[str, object]:
    """Return the figures of a trained model, as `ModelMetrics` defines them.

    With a denoising `recipe`, `noisy_test_mse` is among them: the error that the denoising papers report.
    """
    dataset = ResidentDataset(test, device=device)
    model.to(device).eval()
    noisy = None
    if recipe is not None and recipe.objective == "denoising":
        noisy = noisy_mean_squared_error(model, dataset, recipe)
    return model_metrics(
        train,
        test,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        code_width=model.architecture.code_width,
        squared_error=squared_error(model, dataset)[0],
        noisy_test_mse=noisy,
        jacobian_norm_squared=mean_jacobian_norm_squared(model, dataset),
        code_variance=code_variance(model, dataset),
    ).as_dict()


def noisy_mean_squared_error(model: Autoencoder, dataset: ResidentDataset, recipe: Recipe) -> float:
    """Compute the squared error per pixel from images that the recipe corrupts to the clean ones."""
    noisy = copy(dataset)
    corruption = Corruption(recipe.corruption, recipe.corruption_level)
    noisy.data = corruption.fixed(to_unit_range(dataset.data), seed=EVALUATION_NOISE_SEED)
    return mean_squared_error(model, noisy)


def probe_metrics(model: Autoencoder, train: Split, test: Split) -> dict[str, object]:
    """Return {name: accuracy} of classifiers on the code, on raw pixels, and on as many principal components.

    Raises:
        ConfigError: there are too few images or classes, or scikit-learn is not installed.
    """
    classes = len(set(train.labels.tolist()))
    if classes < 2 or len(train) < NEIGHBOURS:
        found = f"{len(train)} training images, of {classes} classes"
        raise ConfigError(f"probe: found {found}, allowed: {NEIGHBOURS} or more, of 2 or more")
    check_installed("sklearn")
    table = probe(model, train, test)
    short = {"code": "code", "raw pixels": "pixels"}
    return {
        f"accuracy_{kind.split()[-1]}_{short.get(name, 'pca')}": accuracy
        for name, accuracies in table.items()
        for kind, accuracy in accuracies.items()
    }
