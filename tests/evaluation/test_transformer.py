"""The scikit-learn transformer keeps scikit-learn's promises, and learns."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from core_torch import AutoencoderTransformer, load_split
from core_torch.spec.errors import ConfigError, DivergenceError


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """(300, 12) of rank 3, in ranges far from [0, 1], one column constant."""
    generator = np.random.default_rng(0)
    table = generator.normal(size=(300, 3)) @ generator.normal(size=(3, 12))
    table = table * np.logspace(-4, 5, 12) + np.linspace(-1e5, 1e5, 12)
    table[:, 5] = 0.1
    return table


def explained(table: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Share of each column's variance, without the constant one."""
    shares = 1 - (table - restored).var(axis=0) / np.maximum(table.var(axis=0), 1e-300)
    return np.delete(shares, 5)


@pytest.mark.parametrize("options", [{}, {"hidden_widths": (5,), "objective": "contractive"}])
def test_it_passes_the_checks_of_scikit_learn(options):
    results = check_estimator(AutoencoderTransformer(code_width=2, epochs=2, **options), on_skip=None)
    skipped = [result["check_name"] for result in results if result["status"] != "passed"]
    assert skipped == ["check_array_api_input"]  # run only where SCIPY_ARRAY_API is set
    assert len(results) > 40


class Reversing(AutoencoderTransformer):
    """Gives the codes in the wrong order."""

    def transform(self, X):
        return super().transform(X)[::-1]


def test_a_broken_transformer_fails_them():
    results = check_estimator(Reversing(code_width=2, epochs=2), on_skip=None, on_fail=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    assert "check_methods_subset_invariance" in failed


def test_a_table_in_any_range_is_restored(table):
    transformer = AutoencoderTransformer(3, epochs=60, batch_size=30, learning_rate=0.01, random_state=0)
    codes = transformer.fit_transform(table)
    assert codes.shape == (300, 3)
    restored = transformer.inverse_transform(codes)
    assert explained(table, restored).min() > 0.95
    assert np.allclose(restored[:, 5], 0.1)
    untrained = AutoencoderTransformer(3, epochs=1, learning_rate=1e-12, random_state=0).fit(table)
    assert explained(table, untrained.inverse_transform(untrained.transform(table))).max() < 0.9
    losses = transformer.history_["train_loss"]
    assert len(losses) == 60
    assert losses[-1] < losses[0] / 5


def test_the_random_state_decides_the_result(table):
    def codes(seed) -> np.ndarray:
        return AutoencoderTransformer(2, epochs=1, random_state=seed).fit_transform(table)

    assert np.array_equal(codes(3), codes(3))
    assert not np.allclose(codes(3), codes(4))
    assert np.array_equal(codes(np.random.RandomState(3)), codes(3))


def test_it_serves_in_a_pipeline():
    train, test = load_split(), load_split(train=False)
    rows, test_rows = (split.images.reshape(len(split), -1) / 255 for split in (train, test))
    pipeline = make_pipeline(AutoencoderTransformer(20, epochs=5, random_state=0), LogisticRegression(max_iter=2000))
    assert pipeline.fit(rows, train.labels).score(test_rows, test.labels) > 0.8
    names = pipeline[0].get_feature_names_out()
    assert list(names[:2]) == ["autoencodertransformer0", "autoencodertransformer1"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"code_width": 0}, "widths"),
        ({"hidden_widths": (5, -1)}, "widths"),
        ({"hidden_widths": 5}, "hidden_widths"),
        ({"hidden_widths": np.array(5)}, "hidden_widths"),
        ({"hidden_widths": None}, "hidden_widths"),
        ({"code_width": np.float64(3)}, "widths"),
        ({"epochs": np.True_}, "epochs"),
        ({"code_activation": "gelu"}, "code_activation"),
        ({"objective": "denoising"}, "objective"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": -1}, "learning_rate"),
    ],
)
def test_an_argument_out_of_range_is_named(table, options, named):
    with pytest.raises(ValueError, match=named):
        AutoencoderTransformer(**options).fit(table)


def test_codes_of_another_width_are_refused(table):
    fitted = AutoencoderTransformer(2, epochs=1).fit(table)
    with pytest.raises(ValueError, match="found 3 columns, allowed: 2"):
        fitted.inverse_transform(np.zeros((4, 3)))
    fitted.set_params(code_width=3)
    assert len(fitted.get_feature_names_out()) == 2
    assert fitted.inverse_transform(fitted.transform(table)).shape == table.shape
    with pytest.raises(NotFittedError):
        AutoencoderTransformer(2).get_feature_names_out()


def test_the_numbers_of_numpy_are_numbers(table):
    plain = {"code_width": 3, "hidden_widths": (5,), "epochs": 2, "batch_size": 64, "learning_rate": 0.5}
    expected = AutoencoderTransformer(**plain, random_state=0).fit_transform(table)
    wrapped = {name: np.asarray(value)[()] for name, value in plain.items()} | {"learning_rate": np.float32(0.5)}
    assert np.array_equal(AutoencoderTransformer(**wrapped, random_state=0).fit_transform(table), expected)
    listed = plain | {"hidden_widths": [np.int64(5)]}
    assert np.array_equal(AutoencoderTransformer(**listed, random_state=0).fit_transform(table), expected)


def test_a_table_too_large_to_standardise_is_named(table, recwarn):
    for factor in (1e160, 1e300):
        with pytest.raises(ConfigError, match=r"^X: found numbers up to .*e\+(16|30)\d, too large"):
            AutoencoderTransformer(3, epochs=1).fit(table * factor)
    AutoencoderTransformer(3, epochs=1).fit(np.delete(table, 5, axis=1) * 1e140)
    assert not recwarn.list


def test_a_training_that_diverges_is_named(table):
    with pytest.raises(DivergenceError):
        AutoencoderTransformer(3, epochs=2, learning_rate=1e25).fit(table)
