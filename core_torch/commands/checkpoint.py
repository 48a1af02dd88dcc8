"""Evaluate a trained model, draw it, or encode images with it."""

import argparse
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core_torch.commands.command_line import check_json, check_results, report
from core_torch.commands.run_folder import FIGURES_NAME, draw, missing_library, read_metrics
from core_torch.evaluation.projection import PROJECTIONS
from core_torch.evaluation.run_page import CAPTIONS
from core_torch.files.atomic import write_atomically
from core_torch.files.locks import hold
from core_torch.files.outputs import check_file, write_json
from core_torch.files.splits import DATASETS, Split, load_split
from core_torch.files.weights import MANIFEST_NAME
from core_torch.spec.devices import parse_device
from core_torch.spec.errors import CheckpointError, ConfigError, check_choice
from core_torch.spec.extras import not_installed
from core_torch.spec.recipe import Recipe

if TYPE_CHECKING:
    from core_torch.models.autoencoder import Autoencoder

CODE_FILES = (".npz", ".npy")


def load(options: argparse.Namespace) -> tuple["Autoencoder", Recipe, dict[str, object]]:
    """Load (model, recipe, {"model", "objective", "dataset"}) of the checkpoint, onto the chosen device."""
    from core_torch.data.device import choose_device
    from core_torch.models.checkpoint import load_checkpoint

    device = choose_device(options.device)
    model, recipe, manifest = load_checkpoint(Path(options.checkpoint))
    dataset = options.dataset or str(manifest.get("dataset"))
    source = {"model": manifest.get("model"), "objective": recipe.objective, "dataset": dataset}
    return model.to(device), recipe, source


def load_part(options: argparse.Namespace, source: dict[str, object], *, train: bool) -> Split:
    """Load the training or the test split of the dataset that the model is measured on."""
    return load_split(str(source["dataset"]), train=train, root=options.data_root)


def check_options(options: argparse.Namespace, *checkpoints: str) -> None:
    """Check the options of these commands before a framework is imported; `CheckpointError` without a checkpoint."""
    if options.dataset is not None:
        check_choice("dataset", options.dataset, DATASETS)
    parse_device(options.device)
    for path in checkpoints:
        if not path or not (Path(path) / MANIFEST_NAME).exists():
            raise CheckpointError(f"checkpoint: {path or 'an empty path'} holds no {MANIFEST_NAME}, see train --output")


def evaluate(options: argparse.Namespace) -> None:
    """Score a checkpoint on a test split, by default of what it was trained on."""
    check_results(options)
    check_options(options, options.checkpoint)

    from core_torch.evaluation.report import measure, probe_metrics

    model, recipe, source = load(options)
    splits = load_part(options, source, train=True), load_part(options, source, train=False)
    metrics = source | measure(model, *splits, device=next(model.parameters()).device, recipe=recipe)
    if options.probe:
        metrics |= probe_metrics(model, *splits)
    report(metrics, json_file=options.json)


def figures(options: argparse.Namespace) -> None:
    """Draw a checkpoint's pictures, and print where they are."""
    check_choice("map", options.map, PROJECTIONS)
    against = [] if options.against is None else [options.against]
    check_options(options, options.checkpoint, *against)
    if options.output is None:
        options.output = str(Path(options.checkpoint) / FIGURES_NAME)
    check_results(options, files=tuple(CAPTIONS))
    if (missing := missing_library()) is not None:
        raise not_installed(missing)

    from core_torch.models.checkpoint import load_checkpoint

    model, recipe, source = load(options)
    own, *others = distinguish([options.checkpoint, *against])
    contender = None
    for path, name in zip(against, others):
        other, other_recipe, manifest = load_checkpoint(Path(path))
        label = f"{manifest.get('model')}, {other_recipe.objective}: {name}"
        contender = label, other.to(next(model.parameters()).device)
    metrics, curves = read_metrics(Path(options.checkpoint))
    test = load_part(options, source, train=False)
    with hold(Path(options.output)):
        written = draw(
            Path(options.output), model, test, recipe=recipe, metrics=metrics, curves=curves, method=options.map,
            name=f"{source['model']}, {source['objective']}: {own}", against=contender,
        )  # fmt: skip
    print(*written, sep="\n")
    write_json(options.json, list(map(str, written)))


def distinguish(paths: list[str]) -> list[str]:
    """Return each path without the folders that all of them share."""
    absolute = [os.path.abspath(path) for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return [os.path.relpath(path, shared) for path in absolute]


def encode(options: argparse.Namespace) -> None:
    """Write the codes and labels of a dataset's images."""
    path = Path(options.output)
    if path.suffix not in CODE_FILES:
        raise ConfigError(f"output: found {options.output!r}, allowed: a name that ends in {' or '.join(CODE_FILES)}")
    check_file("output", options.output)
    if options.train and path.suffix == ".npy":
        raise ConfigError("train: found with a .npy file, which holds one array; allowed: with .npz")
    if options.json is not None and Path(options.json).resolve() == path.resolve():
        raise ConfigError(f"json: found {options.json}, which --output takes, allowed: another file")
    if options.json is not None:
        check_json(options)
    check_options(options, options.checkpoint)

    from core_torch.evaluation.probe import encode as codes_of

    model, _, source = load(options)
    arrays: dict[str, np.ndarray] = {}
    for prefix, train in (("", False), ("train_", True))[: 1 + options.train]:
        split = load_part(options, source, train=train)
        arrays |= {f"{prefix}codes": codes_of(model, split), f"{prefix}labels": split.labels}
    content = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(content, **arrays)  # type: ignore[arg-type]
    else:
        np.save(content, arrays["codes"], allow_pickle=False)
    write_atomically(path, content.getvalue())
    for name, array in arrays.items():
        print(f"{name:14} {array.dtype} {array.shape}")
    shapes = {name: {"dtype": str(array.dtype), "shape": array.shape} for name, array in arrays.items()}
    write_json(options.json, shapes)
