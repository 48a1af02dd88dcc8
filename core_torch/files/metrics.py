"""The figures of a trained model and of its run: what every port writes into metrics.json.

A port measures five numbers with its framework. Everything else follows from them here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from core_torch.files.outputs import write_json
from core_torch.files.splits import Split, pixel_rows
from core_torch.spec.baselines import constant_predictors, is_collapsed, pca_errors
from core_torch.spec.recipe import Recipe

METRICS_NAME = "metrics.json"
JACOBIAN_IMAGES = 100  # images of the test split over which a port averages the exact Jacobian
EVALUATION_NOISE_SEED = 0  # of the corrupted test images, the same for every model


@dataclass(frozen=True, kw_only=True)
class ModelMetrics:
    """The figures of a trained model; errors are squared and averaged over test images and pixels.

    Attributes:
        parameters: how many numbers training changes.
        test_mse: error on clean test images.
        test_sse: the same, summed over pixels and averaged over images.
        noisy_test_mse: error from corrupted test images to clean ones; None unless the objective is denoising.
        test_mse_of_zeros: error of a black image.
        test_mse_of_mean: error of the mean training image.
        test_mse_of_pca: error of as many principal components as the code has units.
        test_mse_of_pca_clipped: the same, clipped to [0, 1].
        collapsed: whether the model has collapsed to a constant image.
        jacobian_norm_squared: E ||J||_F^2 of the encoder over the first `JACOBIAN_IMAGES` test images.
        jacobian_scale_free: the same per unit of the code's variance; None for a code that does not vary.
    """

    parameters: int
    test_mse: float
    test_sse: float
    noisy_test_mse: float | None
    test_mse_of_zeros: float
    test_mse_of_mean: float
    test_mse_of_pca: float
    test_mse_of_pca_clipped: float
    collapsed: bool  # earlier runs call it dead; `read_metrics` converts them
    jacobian_norm_squared: float
    jacobian_scale_free: float | None

    def as_dict(self) -> dict[str, object]:
        """Return the figures by name, in the order of metrics.json, without `noisy_test_mse` where there is none."""
        figures = asdict(self)
        if self.noisy_test_mse is None:
            del figures["noisy_test_mse"]
        return figures


def model_metrics(
    train: Split,
    test: Split,
    *,
    parameters: int,
    code_width: int,
    squared_error: float,
    noisy_test_mse: float | None = None,
    jacobian_norm_squared: float,
    code_variance: float,
) -> ModelMetrics:
    """Compute every figure of a model from what its framework measured.

    Args:
        parameters: how many numbers training changes.
        code_width: units of the code.
        squared_error: summed over the test images and their pixels, in float64.
        noisy_test_mse: error from images corrupted by `EVALUATION_NOISE_SEED` to clean ones; only if denoising.
        jacobian_norm_squared: averaged over the first `JACOBIAN_IMAGES` test images.
        code_variance: summed over code units, over all test images.
    """
    rows, test_rows = pixel_rows(train), pixel_rows(test)
    constants = constant_predictors(rows, test_rows)
    pca = pca_errors(rows, test_rows, min(code_width, rows.shape[1]))
    test_mse = squared_error / test_rows.size
    return ModelMetrics(
        parameters=parameters,
        test_mse=test_mse,
        test_sse=squared_error / len(test),
        noisy_test_mse=noisy_test_mse,
        test_mse_of_zeros=constants["zeros"],
        test_mse_of_mean=constants["per-pixel mean"],
        test_mse_of_pca=pca["raw"],
        test_mse_of_pca_clipped=pca["clipped"],
        collapsed=is_collapsed(test_mse, constants),
        jacobian_norm_squared=jacobian_norm_squared,
        jacobian_scale_free=scale_free_norm(jacobian_norm_squared, code_variance=code_variance),
    )


def scale_free_norm(jacobian_norm_squared: float, *, code_variance: float) -> float | None:
    """Compute E ||J||_F^2 / tr Cov(h), per squared pixel unit; None for a code that does not vary.

    Dividing the code by c divides both terms by c^2. So an untied model cannot lower the ratio, as it can the norm,
    by shrinking its encoder and letting its decoder make up for it.
    """
    return jacobian_norm_squared / code_variance if code_variance else None


def run_metrics(
    figures: Mapping[str, object],
    *,
    model: str,
    recipe: Recipe,
    dataset: str,
    epochs: int,
    seconds: float,
    on_the_way: Mapping[str, object] | None = None,
    port: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return everything metrics.json says of a run, but for its history.

    Args:
        figures: `ModelMetrics.as_dict()` of the trained model.
        model: its name, as `--model` spells it.
        epochs: how many were trained.
        seconds: of training.
        on_the_way: errors measured between two stages of training.
        port: what only this port has to say, such as its backend.
    """
    head = {"model": model, "objective": recipe.objective, "dataset": dataset, "seed": recipe.seed, "epochs": epochs}
    return {**head, **(on_the_way or {}), **figures, "seconds": seconds, **(port or {})}


def write_metrics(folder: Path, metrics: Mapping[str, object], *, history: Mapping[str, list[float]]) -> None:
    """Write metrics.json: the metrics of a run and its curves, without the times of epochs."""
    curves = {name: values for name, values in history.items() if name != "seconds"}
    write_json(folder / METRICS_NAME, {**metrics, "history": curves})
