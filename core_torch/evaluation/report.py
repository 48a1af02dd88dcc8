"""The figures that every trained model is reported with."""

from copy import copy

import torch

from core_torch.data.corruption import Corruption
from core_torch.data.resident import ResidentDataset, to_unit_range
from core_torch.evaluation.baselines import constant_predictors, is_dead, pca_errors, pixel_rows
from core_torch.evaluation.jacobian import contraction
from core_torch.evaluation.probe import NEIGHBOURS, probe
from core_torch.files.splits import Split
from core_torch.models.autoencoder import Autoencoder
from core_torch.objectives.reconstruction import mean_squared_error, squared_error
from core_torch.spec.errors import ConfigError
from core_torch.spec.extras import check_installed
from core_torch.spec.recipe import Recipe

EVALUATION_NOISE_SEED = 0  # of the corrupted test images, the same for every model


def measure(
    model: Autoencoder, train: Split, test: Split, *, device: torch.device, recipe: Recipe | None = None
) -> dict[str, object]:
    """{name: value}: test error per pixel (MSE) and per image (SSE), baselines, the encoder's contraction.

    `test_mse` is on clean images. With a denoising `recipe` there is `noisy_test_mse` too, the error that the
    denoising papers report: the input corrupted as in training but by a fixed seed, the target clean.
    """
    dataset = ResidentDataset(test, device=device)
    model.to(device).eval()
    total, count = squared_error(model, dataset)
    denoising = {}
    if recipe is not None and recipe.objective == "denoising":
        denoising = {"noisy_test_mse": noisy_mean_squared_error(model, dataset, recipe)}
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "test_mse": total / count,
        "test_sse": total / len(dataset),
        **denoising,
        **baselines(train, test, mse=total / count, code_width=model.architecture.code_width),
        **contraction(model, dataset),
    }


def baselines(train: Split, test: Split, *, mse: float, code_width: int) -> dict[str, object]:
    """Test errors to hold a model's `mse` against: constants, and PCA as wide as the code."""
    rows, test_rows = pixel_rows(train), pixel_rows(test)
    constants = constant_predictors(rows, test_rows)
    pca = pca_errors(rows, test_rows, min(code_width, rows.shape[1]))
    return {
        "test_mse_of_zeros": constants["zeros"],
        "test_mse_of_mean": constants["per-pixel mean"],
        "test_mse_of_pca": pca["raw"],
        "test_mse_of_pca_clipped": pca["clipped"],
        "dead": is_dead(mse, constants),
    }


def noisy_mean_squared_error(model: Autoencoder, dataset: ResidentDataset, recipe: Recipe) -> float:
    """Squared error per pixel from images that the recipe's corruption has damaged to the clean ones."""
    noisy = copy(dataset)
    corruption = Corruption(recipe.corruption, recipe.corruption_level)
    noisy.data = corruption.fixed(to_unit_range(dataset.data), seed=EVALUATION_NOISE_SEED)
    return mean_squared_error(model, noisy)


def probed(model: Autoencoder, train: Split, test: Split) -> dict[str, object]:
    """{name: accuracy} of classifiers on the code, on raw pixels, and on as many principal components.

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
