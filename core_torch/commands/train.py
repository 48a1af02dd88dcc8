"""`python -m core_torch train`: train a model, report it, and write the run into a folder."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core_torch.commands.command_line import check_results, report
from core_torch.commands.run_folder import RUN_FILES, Run, write_run
from core_torch.commands.train_options import is_randomized, resolve_options
from core_torch.files.event_files import EventFiles, check_event_files
from core_torch.files.locks import hold
from core_torch.files.metrics import run_metrics
from core_torch.files.outputs import prepare_output
from core_torch.files.splits import Split, load_split
from core_torch.files.weights import MANIFEST_NAME
from core_torch.spec.architecture import ARCHITECTURES, Architecture
from core_torch.spec.devices import parse_device
from core_torch.spec.errors import ConfigError, check_boolean, check_choice, check_integer
from core_torch.spec.recipe import SOLVERS, Recipe
from core_torch.training.history import History

if TYPE_CHECKING:
    import torch

    from core_torch.models.autoencoder import Autoencoder
    from core_torch.training.checkpoints import Checkpoints

CHECKPOINTS_NAME = "unfinished"  # in the output folder; gone once the results are there


def train(options: argparse.Namespace) -> None:
    """Train, report, and write what was asked for."""
    architecture, recipe = resolve_run(options)
    parse_device(options.device)
    check_results(options, files=RUN_FILES)
    check_checkpoints(options)
    if options.tensorboard is not None:
        if is_randomized(options):
            raise ConfigError(f"tensorboard: found with {options.model}, allowed with: models trained in epochs")
        check_event_files(options.tensorboard)
    splits = load_splits(options)

    from core_torch.data.device import choose_device

    choose_device(options.device)  # refuses one that is not there before anything is written
    with nullcontext() if options.output is None else hold(Path(options.output)):
        run = fit_and_write(options, architecture, recipe, splits)
    report(run.metrics, json_file=options.json)


def fit_and_write(
    options: argparse.Namespace, architecture: Architecture, recipe: Recipe, splits: tuple[Split, Split]
) -> Run:
    """Train, and write the run into the output folder, if there is one, which nobody else writes to."""
    check_checkpoints(options)  # again: now no other run can begin or end there
    checkpoints = build_checkpoints(options)
    with nullcontext() if options.tensorboard is None else closing(EventFiles(options.tensorboard)) as events:
        on_epoch = partial(write_epoch, events) if events else None
        run = fit(options, architecture, recipe, splits, checkpoints=checkpoints, on_epoch=on_epoch)
    if options.output is not None:
        write_run(prepare_output(options.output), run, options=options, recipe=recipe, test=splits[1])
    if checkpoints is not None:
        checkpoints.remove()
    return run


def write_epoch(events: EventFiles, history: History) -> None:
    """Write the last values of the curves."""
    events.write(len(history.train_loss), {name: values[-1] for name, values in history.curves().items()})


def resolve_run(options: argparse.Namespace) -> tuple[Architecture, Recipe]:
    """Return what is trained, and how; `ConfigError` for a value out of range, or one the model would ignore."""
    architecture, recipe = resolve_options(options, models=tuple(ARCHITECTURES))
    if options.pretrain is not None:
        check_boolean("pretrain", options.pretrain)
    if options.pretrain and options.model not in ("shallow", "deep"):
        raise ConfigError(f"pretrain: found with {options.model}, allowed with: shallow, deep")
    if options.solver is not None:
        check_choice("solver", options.solver, SOLVERS)
        if not is_randomized(options):
            raise ConfigError(f"solver: found with {options.model}, allowed with: randomized models")
    return architecture, recipe


def check_checkpoints(options: argparse.Namespace) -> None:
    """Raise `ConfigError` for options that contradict each other, or that would overwrite an unfinished run."""
    if options.checkpoint_every is None:
        if options.resume:
            raise ConfigError("resume: found without --checkpoint-every, allowed: with it")
        return
    check_integer("checkpoint_every", options.checkpoint_every, minimum=1)
    if options.output is None:
        raise ConfigError("checkpoint_every: found without --output, allowed: with it")
    if is_randomized(options):
        raise ConfigError(f"checkpoint_every: found with {options.model}, allowed with: models trained in steps")
    if not options.resume and (Path(options.output) / CHECKPOINTS_NAME / MANIFEST_NAME).exists():
        raise ConfigError(f"output: {options.output} holds an unfinished run, allowed: with --resume")


def build_checkpoints(options: argparse.Namespace) -> "Checkpoints | None":
    """Build what stores the run while it is not finished; None without --checkpoint-every."""
    if options.checkpoint_every is None:
        return None

    from core_torch.training.checkpoints import Checkpoints

    metadata = {"model": options.model, "pretrained": bool(options.pretrain)}
    return Checkpoints(Path(options.output) / CHECKPOINTS_NAME, every=options.checkpoint_every, metadata=metadata)


def load_splits(options: argparse.Namespace) -> tuple[Split, Split]:
    """Load the training and the test split."""
    train_split, test_split = (
        load_split(options.dataset, train=part, root=options.data_root) for part in (True, False)
    )
    return train_split, test_split


def fit(
    options: argparse.Namespace,
    architecture: Architecture,
    recipe: Recipe,
    splits: tuple[Split, Split],
    *,
    checkpoints: "Checkpoints | None" = None,
    on_epoch: Callable[[History], None] | None = None,
) -> Run:
    """Train from the starting weights that all ports share, or go on from checkpoints, and measure."""
    from core_torch.data.device import choose_device
    from core_torch.data.residency import resident_or_streamed
    from core_torch.data.resident import ResidentDataset
    from core_torch.models.autoencoder import build_autoencoder
    from core_torch.objectives.reconstruction import mean_squared_error
    from core_torch.training.layer_by_layer.pretraining import pretrain
    from core_torch.training.layer_by_layer.randomized import refit_decoder, train_randomized
    from core_torch.training.loop import train as train_model

    progress = sys.stderr.isatty()  # elsewhere an error's one line should stand alone
    device = choose_device(options.device)
    model = build_autoencoder(architecture, seed=recipe.seed)
    dataset = resident_or_streamed(splits[0], device=device)
    started, history = time.perf_counter(), History()
    before: dict[str, float | None] = {}
    if is_randomized(options):
        solver = options.solver or SOLVERS[0]
        first, *_ = train_randomized(model, dataset, recipe=recipe, solver=solver, refit=False, progress=progress)
        test_set = ResidentDataset(splits[1], device=device)
        before = {
            "test_mse_before_transpose": mean_squared_error(first.pair, test_set),
            "test_mse_plain_transpose": mean_squared_error(model, test_set),
            "ridge_condition": first.condition,
        }
        refit_decoder(model, dataset, recipe=recipe)
    else:
        if options.pretrain and not (checkpoints and checkpoints.exist()):
            pretrain(model, dataset, recipe=recipe, progress=progress)
        history = train_model(
            model, dataset, recipe=recipe, progress=progress, checkpoints=checkpoints, on_epoch=on_epoch
        )
    seconds = time.perf_counter() - started + (checkpoints.seconds if checkpoints else 0.0)
    del dataset  # its memory is for the test images
    return build_run(options, model, recipe, splits, history, device=device, seconds=seconds, before=before)


def build_run(
    options: argparse.Namespace,
    model: "Autoencoder",
    recipe: Recipe,
    splits: tuple[Split, Split],
    history: History,
    *,
    device: "torch.device",
    seconds: float,
    before: Mapping[str, float | None] | None = None,
) -> Run:
    """Measure a trained model; `before` was measured on the way."""
    from core_torch.evaluation.report import measure

    metrics = run_metrics(
        measure(model, *splits, device=device, recipe=recipe),
        model=options.model,
        recipe=recipe,
        dataset=options.dataset,
        epochs=len(history.train_loss),
        seconds=seconds,
        on_the_way=before,
    )
    curves = history.curves()
    return Run(model, metrics, curves | {"seconds": history.seconds} if curves else {})
