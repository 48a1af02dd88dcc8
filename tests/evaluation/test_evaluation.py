"""The figures beside a trained model: baselines, probes, the encoder's Jacobian; what `measure` reports."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core_torch.data.corruption import Corruption
from core_torch.data.resident import ResidentDataset
from core_torch.evaluation import jacobian
from core_torch.evaluation.jacobian import code_variance, mean_jacobian_norm_squared, mean_singular_values
from core_torch.evaluation.probe import encode, linear_probe, nearest_neighbours, probe
from core_torch.evaluation.report import measure, noisy_mean_squared_error, probe_metrics
from core_torch.files.metrics import scale_free_norm
from core_torch.files.splits import Split, load_split, pixel_rows
from core_torch.models.autoencoder import build_autoencoder
from core_torch.spec.architecture import ARCHITECTURES, PIXELS, FullyConnected
from core_torch.spec.baselines import constant_predictors, is_collapsed, pca_errors, principal_components
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import CORRUPTIONS, Recipe

HINTON_PCA_30 = 13.866  # test squared error per image; Hinton and Salakhutdinov (2006) print 13.87
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> tuple[Split, Split]:
    return load_split(), load_split(train=False)


@pytest.fixture(scope="module")
def rows(digits) -> tuple[np.ndarray, np.ndarray]:
    return pixel_rows(digits[0]), pixel_rows(digits[1])


def test_principal_components_are_orthonormal_and_catch_the_most_variance(rows):
    mean, directions = principal_components(rows[0], 12)
    assert np.allclose(directions @ directions.T, np.eye(12), atol=1e-12)
    assert np.allclose(mean, rows[0].mean(0, dtype=np.float64))
    variance = ((rows[0] - mean) @ directions.T).var(axis=0)
    singular = np.linalg.svd(rows[0].astype(np.float64) - mean, compute_uv=False)
    assert np.allclose(variance, singular[:12] ** 2 / len(rows[0]), rtol=1e-8)


def test_pca_reconstructs_better_with_more_components_and_better_clipped(rows):
    errors = [pca_errors(*rows, count) for count in (1, 10, 50)]
    raw, clipped = ([error[name] for error in errors] for name in ("raw", "clipped"))
    assert sorted(raw, reverse=True) == raw
    assert all(cut < whole for cut, whole in zip(clipped, raw))
    assert raw[0] < constant_predictors(*rows)["per-pixel mean"]
    everything = pca_errors(*rows, PIXELS)
    assert everything["raw"] < 1e-20


@pytest.mark.parametrize("count", [0, 785, 2.0])
def test_pca_refuses_a_count_it_cannot_have(rows, count):
    with pytest.raises(ConfigError, match="^count: found .*, allowed: an integer from 1 to 784$"):
        principal_components(rows[0], count)


@pytest.mark.mnist
def test_pca_30_has_the_error_that_hinton_and_salakhutdinov_print(mnist_root):
    splits = (load_split("mnist", train=part, root=mnist_root, download=False) for part in (True, False))
    train, test = map(pixel_rows, splits)
    errors = pca_errors(train, test, 30)
    assert errors["raw"] * PIXELS == pytest.approx(HINTON_PCA_30, abs=0.02)
    assert errors["clipped"] == pytest.approx(0.01606, abs=1e-5)
    # Twins: one component fewer, and fitted on the test images.
    assert pca_errors(train, test, 29)["raw"] * PIXELS > HINTON_PCA_30 + 0.02
    assert pca_errors(test, test, 30)["raw"] * PIXELS < HINTON_PCA_30 - 0.02


def test_a_model_beside_a_constant_is_collapsed(rows):
    constants = constant_predictors(*rows)
    assert constants["per-pixel mean"] < constants["global mean"] < constants["zeros"]
    assert constants["zeros"] == pytest.approx(float((rows[1] ** 2).mean()))
    for value in constants.values():
        assert is_collapsed(value * 1.019, constants)
        assert is_collapsed(value * 0.981, constants)
    assert not is_collapsed(constants["per-pixel mean"] * 0.97, constants)


def test_codes_are_the_same_in_batches_of_any_size(digits):
    model = build_autoencoder(ARCHITECTURES["conv-deep"]).train()
    codes = encode(model, digits[1], batch_size=7)
    assert codes.shape == (len(digits[1]), 100)
    assert np.allclose(codes, encode(model, digits[1]), atol=1e-6)
    assert model.training


def test_probes_find_what_is_there_and_nothing_where_there_is_nothing():
    generator = np.random.default_rng(0)
    labels, test_labels = generator.integers(0, 10, 600), generator.integers(0, 10, 300)

    def features(of: np.ndarray) -> np.ndarray:
        return np.eye(10)[of] * [1e-3] * 10 + generator.normal(0, 1e-4, (len(of), 10)) + 50

    told = features(labels), features(test_labels)
    noise = generator.normal(size=(600, 10)), generator.normal(size=(300, 10))
    for judge in (linear_probe, nearest_neighbours):
        assert judge(told, labels, test_labels) > 0.99
        assert judge(noise, labels, test_labels) < 0.2


def test_the_linear_probe_converges(rows, digits, recwarn):
    assert 0.93 < linear_probe(rows, digits[0].labels, digits[1].labels) <= 1
    assert not [warning for warning in recwarn if "onverge" in warning.category.__name__]


def test_a_code_is_probed_beside_pixels_and_pca_of_its_width(digits):
    linear = FullyConnected(widths=(PIXELS, 20), code_activation="linear")
    table = probe(build_autoencoder(linear), *digits)
    assert list(table) == ["code", "raw pixels", "PCA-20"]
    assert all(set(row) == {"linear", "nearest neighbours"} for row in table.values())
    assert all(0.5 < value <= 1 for row in table.values() for value in row.values())
    assert table["raw pixels"]["nearest neighbours"] > 0.95


def test_what_no_classifier_can_be_fitted_to_is_refused(digits):
    train, test = digits
    ones = np.flatnonzero(train.labels == 1)
    few = np.array([*ones[:1], *np.flatnonzero(train.labels == 2)[:1]])
    for images, found in ((ones, f"{len(ones)} training images, of 1 classes"), (few, "2 training images, of 2")):
        with pytest.raises(ConfigError, match=f"^probe: found {found}"):
            probe_metrics(build_autoencoder(ARCHITECTURES["shallow"]), train.take(images), test)


def test_the_singular_values_belong_to_the_jacobian(digits):
    model = build_autoencoder(FullyConnected(widths=(PIXELS, 9), code_activation="linear"))
    dataset = ResidentDataset(digits[1])
    spectrum = mean_singular_values(model, dataset)
    expected = torch.linalg.svdvals(model.encoder[0].weight.detach())
    assert torch.allclose(spectrum, expected, rtol=1e-4)
    norm = float(expected.square().sum())
    assert mean_jacobian_norm_squared(model, dataset) == pytest.approx(norm, rel=1e-4)


def test_the_spectrum_of_a_convolutional_encoder_adds_up_to_its_norm(digits):
    model = build_autoencoder(ARCHITECTURES["conv-deep"])
    dataset = ResidentDataset(digits[1].take(np.arange(1)))
    spectrum = mean_singular_values(model, dataset)
    assert spectrum.shape == (100,)
    norm = float(spectrum.square().sum())
    assert mean_jacobian_norm_squared(model, dataset) == pytest.approx(norm, rel=1e-4)


def test_the_scale_free_norm_of_a_linear_code_is_known(digits, rows):
    model = build_autoencoder(FullyConnected(widths=(PIXELS, 9), code_activation="linear"))
    weight = model.encoder[0].weight.detach().double().numpy()
    covariance = np.cov(rows[1].T.astype(np.float64), bias=True)
    expected = np.sum(weight**2) / np.trace(weight @ covariance @ weight.T)
    dataset = ResidentDataset(digits[1])
    norm = mean_jacobian_norm_squared(model, dataset)
    assert scale_free_norm(norm, code_variance=code_variance(model, dataset)) == pytest.approx(expected, rel=1e-4)


def test_a_code_that_does_not_vary_has_no_scale_free_norm(digits):
    model = build_autoencoder(FullyConnected(widths=(PIXELS, 9), code_activation="linear"))
    with torch.no_grad():
        model.encoder[0].weight.zero_()
        model.encoder[0].bias.fill_(0.1)
    dataset = ResidentDataset(digits[1])
    assert mean_jacobian_norm_squared(model, dataset) == code_variance(model, dataset) == 0
    assert scale_free_norm(0.0, code_variance=0.0) is None


def test_measure_reports_errors_baselines_and_contraction(digits):
    train, test = digits[0], digits[1].take(np.arange(100))
    metrics = measure(build_autoencoder(ARCHITECTURES["shallow"]), train, test, device=CPU)
    assert list(metrics) == [
        *("parameters", "test_mse", "test_sse"),
        *("test_mse_of_zeros", "test_mse_of_mean", "test_mse_of_pca", "test_mse_of_pca_clipped", "collapsed"),
        *("jacobian_norm_squared", "jacobian_scale_free"),
    ]
    assert metrics["test_sse"] == pytest.approx(PIXELS * metrics["test_mse"])
    assert metrics["test_mse_of_pca"] == pca_errors(pixel_rows(train), pixel_rows(test), 200)["raw"]
    assert metrics["parameters"] == 314_584


def test_each_exact_jacobian_is_computed_once(digits, monkeypatch):
    calls, exact = [], jacobian.jacobian_norm_squared
    monkeypatch.setattr(jacobian, "jacobian_norm_squared", lambda *given: calls.append(given) or exact(*given))
    measure(build_autoencoder(ARCHITECTURES["shallow"]), *digits, device=CPU)
    assert len(calls) * jacobian.JACOBIAN_BATCH == jacobian.JACOBIAN_IMAGES


def test_a_code_wider_than_an_image_is_held_against_all_components(digits):
    wide = build_autoencoder(replace(ARCHITECTURES["shallow"], widths=(PIXELS, 800)))
    assert measure(wide, digits[0], digits[1], device=CPU)["test_mse_of_pca"] < 1e-20


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("residency", ["float32", "uint8"])
def test_the_denoising_error_is_from_noisy_inputs_to_clean_targets(digits, kind, residency):
    model = build_autoencoder(FullyConnected(output_activation="linear"))
    recipe = Recipe(objective="denoising", corruption=kind, corruption_level=0.5)
    dataset = ResidentDataset(digits[1])
    noisy = Corruption(kind, 0.5).fixed(dataset.data, seed=0)
    with torch.no_grad():
        expected = float((model(noisy) - dataset.targets).square().mean())
        clean = float((model(dataset.data) - dataset.targets).square().mean())
    found = noisy_mean_squared_error(model, ResidentDataset(digits[1], residency=residency), recipe)
    assert found == pytest.approx(expected, rel=1e-5)
    assert found != pytest.approx(clean, rel=1e-3)
    metrics = measure(model, *digits, device=CPU, recipe=recipe)
    assert metrics["noisy_test_mse"] == pytest.approx(expected, rel=1e-5)
    assert metrics["test_mse"] == pytest.approx(clean, rel=1e-5)
