"""The original's categories: every cell is there, is trained afresh, and says what its columns promise."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.papers import categories
from benchmarks.papers.categories import BEFORE, CELLS, METRICS, NOISY, NORM, PENALISED, TABLE, components, run_of
from core_torch.files.splits import Split, load_split
from core_torch.models.autoencoder import build_autoencoder, to_reference_weights
from core_torch.spec.architecture import ARCHITECTURES
from core_torch.spec.recipe import OBJECTIVES, Recipe

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Digits:
    """The embedded digits in the place of MNIST."""

    whole: Split
    test: Split
    device: str = "cpu"
    root: str | None = None


@pytest.fixture(scope="module")
def data() -> Digits:
    return Digits(load_split("digits"), load_split("digits", train=False))


def cell(data: Digits, name: str, *, seed: int = 0, **numbers: object) -> dict[str, float]:
    """A row in one epoch, unless `numbers` say otherwise."""
    model, objective, shape, own = CELLS[name]
    run = run_of(model, objective, shape, {"epochs": 1} | dict(own) | numbers)
    return dict(run(data, seed))


def test_all_eighteen_are_rows_and_every_note_is_of_a_row():
    names = {row.name for row in TABLE.rows}
    assert {f"{model}, {objective}" for model in ARCHITECTURES for objective in OBJECTIVES} <= names
    for notes in (categories.CLAIMS, categories.GOALS, categories.WHY, categories.QUICK):
        assert set(notes) <= set(CELLS) <= names
    for values in (*categories.CLAIMS.values(), *categories.GOALS.values()):
        assert set(values) <= set(METRICS)
    for ordering in TABLE.orderings:
        assert set(ordering.rows) <= names


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("shallow, standard", set()),
        ("shallow, contractive", {PENALISED}),
        ("shallow, denoising", {NOISY}),
        ("deep, contractive", {PENALISED}),
        ("randomized-shallow, denoising", {BEFORE, NOISY}),
        ("conv-shallow, contractive", set()),
    ],
)
def test_a_cell_has_the_columns_of_its_kind_and_no_others(name, columns, data):
    small = Digits(data.whole, data.test.take(np.arange(50)))
    found = cell(small, name)
    assert set(found) == set(METRICS) - {PENALISED, NOISY, BEFORE} | columns
    assert np.isfinite(list(found.values())).all()
    assert found[NORM] > 0


def test_a_cell_is_a_fresh_model_that_its_seed_decides(data):
    first = cell(data, "deep, denoising")
    assert cell(data, "deep, denoising") == first
    assert cell(data, "deep, denoising", seed=1)["test MSE"] != first["test MSE"]


def test_a_cell_is_what_the_command_trains(data, tmp_path):
    for model, numbers in {"shallow": {"epochs": 2}, "deep": {"epochs": 2, "learning_rate": 0.002}}.items():
        options = [f"--{name.replace('_', '-')}={value}" for name, value in numbers.items()]
        command = [sys.executable, "-m", "core_torch", "train", "--preset=best", f"--model={model}", "--seed=3"]
        subprocess.run([*command, *options, f"--json={tmp_path}/run.json"], cwd=ROOT, check=True, capture_output=True)
        trained = json.loads((tmp_path / "run.json").read_text())
        found = cell(data, f"{model}, standard", seed=3, **numbers)
        assert found["test MSE"] == trained["test_mse"]
        assert found[NORM] == trained["jacobian_norm_squared"]
        assert cell(data, f"{model}, standard", seed=4, **numbers)["test MSE"] != trained["test_mse"]


def test_a_model_that_learns_nothing_is_flagged_dead(data):
    assert cell(data, "deep, standard", learning_rate=1e-12)["dead"] == 1
    assert cell(data, "shallow, standard", epochs=10)["dead"] == 0


def test_the_penalised_error_counts_the_product_of_the_weights(data):
    model, objective, shape, _ = CELLS["deep, contractive"]
    autoencoder = build_autoencoder(categories.preset("best", model, objective)[0])
    found = categories.figures(autoencoder, data, Recipe(objective=objective))
    product = np.eye(784)
    for name, weight in to_reference_weights(autoencoder).items():
        if name.startswith("encoder") and name.endswith("weight"):
            product = weight @ product
    penalty = 1e-4 * np.linalg.norm(product)
    assert found[PENALISED] == pytest.approx(found["test MSE"] + penalty, rel=1e-5)
    assert found[PENALISED] != pytest.approx(found["test MSE"] + penalty**2, rel=1e-5)


def test_the_rows_of_pca_are_the_column_of_pca(data):
    column = cell(data, "deep, standard")["PCA of equal width"]
    assert components(data, 0, width=10)["test MSE"] == pytest.approx(column, rel=1e-6)
    assert components(data, 0, width=11)["test MSE"] < 0.999 * column
