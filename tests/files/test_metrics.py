"""The figures of a run follow from what a framework measures, under the same names for every port."""

import json
from dataclasses import fields

import numpy as np
import pytest

from core_torch.files.metrics import METRICS_NAME, ModelMetrics, model_metrics, run_metrics, write_metrics
from core_torch.files.splits import Split, load_split, pixel_rows
from core_torch.spec.recipe import Recipe


@pytest.fixture(scope="module")
def splits() -> tuple[Split, Split]:
    return load_split(), load_split(train=False).take(np.arange(50))


def metrics(splits, **changes) -> ModelMetrics:
    measured = {"parameters": 7, "code_width": 10, "squared_error": 392.0}
    measured |= {"jacobian_norm_squared": 6.0, "code_variance": 3.0}
    return model_metrics(*splits, **(measured | changes))


def test_errors_are_divided_by_what_they_are_summed_over(splits):
    found = metrics(splits)
    assert found.test_mse == 392 / (50 * 784)
    assert found.test_sse == 392 / 50
    assert found.jacobian_scale_free == 2
    assert metrics(splits, code_variance=0.0).jacobian_scale_free is None


def test_baselines_are_of_the_test_images(splits):
    train, test = map(pixel_rows, splits)
    found = metrics(splits)
    assert found.test_mse_of_zeros == pytest.approx(float((test.astype(np.float64) ** 2).mean()), rel=1e-6)
    assert found.test_mse_of_mean == pytest.approx(float(((test - train.mean(0)) ** 2).mean()), rel=1e-6)
    assert found.test_mse_of_pca > metrics(splits, code_width=20).test_mse_of_pca > 0
    assert metrics(splits, code_width=1000).test_mse_of_pca < 1e-20


@pytest.mark.parametrize(("share", "collapsed"), [(0.97, False), (0.99, True), (2.0, True)])
def test_a_model_no_better_than_a_constant_is_called_so(splits, share, collapsed):
    error = share * metrics(splits).test_mse_of_mean * 50 * 784
    assert metrics(splits, squared_error=error).collapsed is collapsed


def test_only_a_denoiser_has_a_noisy_error(splits):
    names = [field.name for field in fields(ModelMetrics)]
    assert list(metrics(splits, noisy_test_mse=0.5).as_dict()) == names
    assert list(metrics(splits).as_dict()) == [name for name in names if name != "noisy_test_mse"]


def test_a_run_is_written_with_its_curves_but_without_its_times(splits, tmp_path):
    head = {"model": "deep", "recipe": Recipe(seed=3), "dataset": "digits", "epochs": 2, "seconds": 1.5}
    run = run_metrics(metrics(splits).as_dict(), **head, on_the_way={"ridge_condition": 9.0}, port={"backend": "jax"})
    assert list(run)[:6] == ["model", "objective", "dataset", "seed", "epochs", "ridge_condition"]
    assert list(run)[-2:] == ["seconds", "backend"]
    write_metrics(tmp_path, run, history={"train_loss": [2.0, 1.0], "seconds": [0.7, 0.8]})
    assert json.loads((tmp_path / METRICS_NAME).read_text()) == run | {"history": {"train_loss": [2.0, 1.0]}}
