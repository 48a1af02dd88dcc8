"""Early stopping: one rule, and every port follows it. Run as a script, this file is Keras, in a process of its own."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core_torch.files.splits import load_split
from core_torch.spec.early_stopping import EarlyStopping
from core_torch.spec.errors import DivergenceError
from core_torch.spec.recipe import Recipe

ROOT = Path(__file__).parents[2]
NAN = math.nan
# {name: (patience, validation errors, epochs trained, epoch whose weights remain)}
CASES: dict[str, tuple[int, list[float], int, int]] = {
    "ties": (2, [3, 3, 3, 3, 3, 3], 3, 0),
    "no improvement": (2, [1, 2, 3, 4, 5, 6], 3, 0),
    "late improvement": (3, [5, 6, 7, 4, 8, 9, 9, 1], 7, 3),
    "ties after an improvement": (2, [5, 4, 4, 4, 3, 2], 4, 1),
    "always better": (1, [6, 5, 4, 3], 4, 3),
    "patience left": (4, [3, 1, 2, 2], 4, 1),
    "no patience": (0, [1, 2, 3], 3, 2),
}
WITH_NAN: dict[str, tuple[int, list[float], int, int]] = {
    "NaN is no improvement": (2, [4, NAN, 3, NAN, NAN, 1], 5, 2),
    "NaN at first": (2, [NAN, 3, 3, 3], 4, 1),
    "an improvement after NaN": (3, [5, NAN, NAN, 4], 4, 3),
    "infinity is no improvement": (2, [math.inf, math.inf, 1], 2, -1),
    "nothing but NaN": (2, [NAN, NAN, NAN], 2, -1),
}


@pytest.mark.parametrize("case", [*CASES, *WITH_NAN])
def test_the_rule_stops_and_keeps(case):
    patience, errors, epochs, remaining = (CASES | WITH_NAN)[case]
    stopping, kept = EarlyStopping(patience), -1
    for epoch, error in enumerate(errors):
        if stopping.should_stop:
            break
        if stopping.update(error):
            kept = epoch
    assert stopping.epochs == epochs
    assert kept == (remaining if patience else -1)  # without patience no weights are kept: the last ones remain


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_follows_the_rule_from_where_it_was(case):
    patience, errors, epochs, _ = CASES[case]
    for cut in range(epochs + 1):
        whole, resumed = EarlyStopping(patience, errors[:epochs]), EarlyStopping(patience, errors[:cut])
        for error in errors[cut:epochs]:
            resumed.update(error)
        assert vars(resumed) == vars(whole)
        assert resumed.should_stop == whole.should_stop


def recipe_of(case: str) -> Recipe:
    patience, errors, *_ = (CASES | WITH_NAN)[case]
    return Recipe(patience=patience, epochs=len(errors), batch_size=100, validation_fraction=0.5)


def found(seen: list[np.ndarray], last: np.ndarray) -> tuple[int, int]:
    """(epochs trained, epoch whose weights remain), from a weight after each epoch and at the end."""
    (epoch,) = [epoch for epoch, weight in enumerate(seen) if np.array_equal(weight, last)]
    return len(seen), epoch


@pytest.mark.parametrize("case", CASES)
def test_core_torch_follows_it(case, monkeypatch):
    from core_torch.data.resident import ResidentDataset
    from core_torch.models.fully_connected import ShallowAutoencoder
    from core_torch.training import loop

    model, seen, errors = ShallowAutoencoder(), [], iter(CASES[case][1])

    def weight() -> np.ndarray:
        return model.encoder[0].get_parameter("bias").detach().numpy().copy()

    def next_error(*_: object) -> float:
        seen.append(weight())
        return next(errors)

    monkeypatch.setattr(loop, "error_on", next_error)
    images = ResidentDataset(load_split("digits").take(np.arange(100)))
    history = loop.train(model, images, recipe=recipe_of(case), progress=False)
    assert found(seen, weight()) == CASES[case][2:]
    assert history.best_epoch == int(np.argmin(history.validation_mse))


@pytest.mark.parametrize("case", [*CASES, *WITH_NAN])
def test_lightning_follows_it(case):
    lightning = pytest.importorskip("lightning")
    from lightning_impl.data import MNISTDataModule
    from lightning_impl.model import LitAutoencoder

    patience, errors, epochs, remaining = (CASES | WITH_NAN)[case]
    seen: list[np.ndarray] = []

    class Scripted(LitAutoencoder):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if not batch_idx:
                seen.append(weight(self))
            self.log("validation_mse", errors[self.current_epoch], on_step=False, on_epoch=True)

    def weight(lit: LitAutoencoder) -> np.ndarray:
        return lit.model.encoder[0].get_parameter("bias").detach().numpy().copy()

    recipe = recipe_of(case)
    lit = Scripted("shallow", patience=patience, epochs=recipe.epochs, batch_size=1000, validation_fraction=0.5)
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=lit.epochs, num_sanity_val_steps=0, enable_model_summary=False, **silent
    )
    trainer.fit(lit, datamodule=MNISTDataModule("digits", batch_size=1000, validation_fraction=0.5))
    assert found(seen, weight(lit)) == (epochs, remaining if remaining >= 0 else epochs - 1)


@pytest.fixture(scope="module")
def keras_found() -> dict[str, Any]:
    """What Keras does in each case."""
    pytest.importorskip("jax")
    quiet = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    finished = subprocess.run([sys.executable, __file__], env=os.environ | quiet, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_keras_follows_it(case, keras_found):
    assert tuple(keras_found[case]) == CASES[case][2:]


def test_core_torch_and_keras_end_at_an_error_that_is_nan(keras_found, monkeypatch):
    assert keras_found["NaN is no improvement"] == "DivergenceError"
    with pytest.raises(DivergenceError):
        from core_torch.training.history import History

        History().record(0, loss=1.0, validation_mse=NAN)


def keras_in(case: str) -> tuple[int, int]:
    """(epochs trained, epoch whose weights remain), the errors being those of the case."""
    from core_torch.spec.architecture import architecture_named
    from keras_impl import training
    from keras_impl.model import build_autoencoder

    model = build_autoencoder(architecture_named("shallow"))
    seen: list[np.ndarray] = []
    errors: Iterator[float] = iter((CASES | WITH_NAN)[case][1])

    def next_error(_: object, split: Any) -> float:
        seen.append(model.get_weights()[1].copy())
        return next(errors) * split.images.size

    training.squared_error = next_error
    training.train(model, load_split("digits").take(np.arange(100)), recipe=recipe_of(case))
    return found(seen, model.get_weights()[1])


def main() -> None:
    """Print what Keras does in each case."""
    results: dict[str, Any] = {}
    for case in [*CASES, "NaN is no improvement"]:
        try:
            results[case] = keras_in(case)
        except DivergenceError:
            results[case] = "DivergenceError"
    print(json.dumps(results))


if __name__ == "__main__":
    main()
