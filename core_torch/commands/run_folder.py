"""The folder that `train --output` writes: weights, metrics, recipe, history, pictures and their page."""

import argparse
import json
import math
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from core_torch.commands.train_options import RECIPE_NAME, recipe_file
from core_torch.evaluation.run_page import CAPTIONS, write_run_page
from core_torch.files.atomic import write_atomically
from core_torch.files.metrics import METRICS_NAME, write_metrics
from core_torch.files.outputs import prepare_output, write_csv
from core_torch.files.safe_reading import read_regular
from core_torch.files.splits import Split
from core_torch.files.weights import MANIFEST_NAME, WEIGHTS_NAME
from core_torch.spec.recipe import Recipe

if TYPE_CHECKING:
    from core_torch.models.autoencoder import Autoencoder

PAGE_NAME, FIGURES_NAME, HISTORY_NAME = "index.html", "figures", "history.csv"
PAGE_FILES = (PAGE_NAME, *(f"{FIGURES_NAME}/{name}" for name in CAPTIONS))
RUN_FILES = (WEIGHTS_NAME, MANIFEST_NAME, METRICS_NAME, RECIPE_NAME, HISTORY_NAME, *PAGE_FILES)


@dataclass(frozen=True)
class Run:
    """A trained model and what is known of it."""

    model: "Autoencoder"
    metrics: dict[str, object]
    history: dict[str, list[float]]  # by epoch; "seconds" among them


def write_run(folder: Path, run: Run, *, options: argparse.Namespace, recipe: Recipe, test: Split) -> None:
    """Write weights, manifest, metrics, recipe, history, and where matplotlib is installed the figures and the page.

    What an earlier run left beside its weights goes first: an interrupted one leaves files of one model only.
    """
    from core_torch.models.checkpoint import save_checkpoint

    for name in PAGE_FILES:  # the rest goes with the weights
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # also where somebody else keeps a picture there
        (folder / FIGURES_NAME).rmdir()
    save_checkpoint(folder, run.model, recipe=recipe, name=options.model, dataset=options.dataset)
    write_metrics(folder, run.metrics, history=run.history)
    settings = recipe_file(options, recipe)
    write_atomically(folder / RECIPE_NAME, settings.encode())
    write_csv(folder / HISTORY_NAME, run.history)
    if options.figures is False:
        return
    if (missing := missing_library()) is not None:
        print(f"no figures: {missing} is not installed", file=sys.stderr)
        return

    curves = {name: values for name, values in run.history.items() if name != "seconds"}
    pictures = draw(folder / FIGURES_NAME, run.model, test, recipe=recipe, metrics=run.metrics, curves=curves)
    page = folder / PAGE_NAME
    shown = {name: value.strip('"') for name, value in (line.split(" = ") for line in settings.splitlines())}
    command = shlex.join(["python", "-m", "core_torch", *sys.argv[1:]])
    write_run_page(page, metrics=run.metrics, settings=shown, pictures=pictures, command=command)
    print(f"see {page}", file=sys.stderr)


def missing_library() -> str | None:
    """Return the first library that pictures need and that is not installed."""
    return next((name for name in ("matplotlib", "PIL", "jinja2") if find_spec(name) is None), None)


def draw(
    folder: Path,
    model: "Autoencoder",
    test: Split,
    *,
    recipe: Recipe,
    metrics: dict[str, object],
    curves: dict[str, list[float]],
    **options: object,
) -> list[Path]:
    """Write the pictures of a model into `folder`; `options` are those of `write_figures`."""
    from core_torch.evaluation.figure_files import write_figures

    names = {"train_loss": "training loss", "validation_mse": "validation error"}
    if recipe.objective == "contractive":
        names["train_loss"] = "training loss, penalty included"
    levels = {"mean image": "test_mse_of_mean", "PCA as wide": "test_mse_of_pca"}
    return write_figures(
        model,
        test,
        prepare_output(folder),
        recipe=recipe,
        history={names.get(name, name): values for name, values in curves.items()},
        levels={name: level for name, key in levels.items() if isinstance(level := metrics.get(key), float)},
        **options,  # type: ignore[arg-type]
    )


def read_metrics(checkpoint: Path) -> tuple[dict[str, object], dict[str, list[float]]]:
    """Read (metrics, curves) that `train` wrote beside a model; nothing if the file is absent or not one of them."""
    try:
        metrics = json.loads(read_regular(checkpoint / METRICS_NAME))
        if "dead" in metrics:  # its name in runs made before `collapsed`
            metrics["collapsed"] = metrics.pop("dead")
        curves = {name: [float(value) for value in values] for name, values in metrics["history"].items() if values}
        return (metrics, curves) if all(map(math.isfinite, chain(*curves.values()))) else ({}, {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}, {}
