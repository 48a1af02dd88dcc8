"""The commands: LightningCLI with the reference's defaults, one-line errors, and the figures at the end.

Options are those of `LitAutoencoder` (--model.*), `MNISTDataModule` (--data.*) and Trainer (--trainer.*), on the
command line or in a YAML file (--config); how many epochs, which batches and which seed the model's recipe says.
Nothing is written unless asked for: `--output DIR`; logs and checkpoints by the Trainer's options, which keep
checkpoints in DEFAULT_ROOT_DIR/checkpoints.
"""

import io
import logging
import math
import statistics
import warnings
from argparse import Namespace
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from core_torch.commands.train_options import OBJECTIVE_OF, RECIPE_FIELDS, RECIPE_NAME, RIDGE_FIELDS, recipe_file
from core_torch.data.device import choose_device
from core_torch.evaluation.report import measure
from core_torch.files.atomic import write_atomically
from core_torch.files.locks import hold
from core_torch.files.metrics import run_metrics, write_metrics
from core_torch.files.outputs import check_folder, prepare_output
from core_torch.files.splits import load_split
from core_torch.models.checkpoint import save_checkpoint
from core_torch.spec.architecture import Architecture
from core_torch.spec.devices import parse_device
from core_torch.spec.errors import (
    CheckpointError,
    ConfigError,
    DivergenceError,
    UserError,
    check_integer,
    check_number,
)
from core_torch.spec.extras import not_installed
from core_torch.spec.presets import PRESETS, preset
from core_torch.spec.recipe import SOLVERS, Recipe
from lightning_impl.callbacks import DisableSigtermBroadcast, EpochCurves, EpochTimer
from lightning_impl.checkpoint import AtomicCheckpointIO, read_checkpoint
from lightning_impl.data import MNISTDataModule
from lightning_impl.model import LitAutoencoder
from lightning_impl.options import DATA_FIELDS, DEVICE_HELP, OUTPUT_HELP, TRAINER_DEFAULTS
from lightning_impl.training import TerminateOnNonFinite

CHECKPOINT_KEYWORDS = ("best", "last", "hpc", "registry")  # Lightning takes them besides a path


class OneLineParser(LightningArgumentParser):
    """Answers an error with one line, without the usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with code 2."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise ConfigError(message)


class Command(LightningCLI):
    """Parses, instantiates, runs."""

    def __init__(self, args: ArgsType = None, *, program: str, held: ExitStack | None = None) -> None:
        self.held = held or ExitStack()
        self.timer, self.curves = EpochTimer(), EpochCurves()
        callbacks = [self.timer, self.curves, DisableSigtermBroadcast(), TerminateOnNonFinite()]
        super().__init__(
            LitAutoencoder,
            MNISTDataModule,
            args=args,
            save_config_callback=None,
            seed_everything_default=Recipe.seed,
            trainer_defaults={**TRAINER_DEFAULTS, "callbacks": callbacks},
            parser_class=OneLineParser,
            parser_kwargs={"prog": program},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # the module saves its own hyperparameters, resolved
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """--output; and one recipe, the model's, for the data too."""
        parser.add_argument("--output", type=str | None, default=None, help=OUTPUT_HELP)
        parser.add_argument("--device", type=str, default="auto", help=DEVICE_HELP)
        for name in DATA_FIELDS:
            number = partial(_of_recipe, name)
            parser.link_arguments("model", f"data.{name}", compute_fn=number, apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and refuse results or a checkpoint that cannot be, before anything is built."""
        super().parse_arguments(parser, args)
        options = self.config[self.config.subcommand]
        for group in ("model", "data", "trainer"):
            if not hasattr(options[group], "as_dict"):
                raise ConfigError(f"{group}: found {options[group]!r}, allowed: a table of options")
        if parse_device(options.device).kind != "auto" and options.trainer.accelerator != "auto":
            raise ConfigError(f"device: found {options.device} beside trainer.accelerator, allowed: one of them")
        choose_device(options.device)  # refuses one that is not there
        if options.output is not None and self.config.subcommand not in ("fit", "predict"):
            raise ConfigError(f"output: found with {self.config.subcommand}, allowed with: fit, predict")
        if options.output is not None:
            check_folder("output", options.output)
        if options.ckpt_path in CHECKPOINT_KEYWORDS:
            raise ConfigError(f"ckpt_path: found {options.ckpt_path}, allowed: a checkpoint file")
        model = options.model.as_dict()
        self.given = {name: value for name, value in model.items() if value not in (None, "default")}
        if options.ckpt_path is not None:
            dataset = options.data.dataset if self.config.subcommand == "fit" else None
            check_agreement(self.given, options.ckpt_path, dataset=dataset)

    def after_instantiate_classes(self) -> None:
        """`ConfigError` for an option of the recipe that the model's training would ignore."""
        objective, layerwise = self.model.recipe.objective, self.model.layerwise
        for name in filter(self.given.__contains__, RECIPE_FIELDS):
            if OBJECTIVE_OF.get(name, objective) != objective:
                raise ConfigError(f"model.{name}: found with {objective}, allowed with: {OBJECTIVE_OF[name]}")
            if layerwise and layerwise.solver == SOLVERS[0] and name not in (*RIDGE_FIELDS, *DATA_FIELDS):
                raise ConfigError(f"model.{name}: found with solver {SOLVERS[0]}, allowed with: {SOLVERS[1]}")

    def instantiate_trainer(self, **options: Any) -> L.Trainer:
        """With the recipe's epochs and atomic checkpoints, unless the user says otherwise."""
        chosen = self._get(self.config_init, "trainer")
        check_trainer_options(chosen)
        plugins = chosen["plugins"] or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        own = any(isinstance(plugin, CheckpointIO) for plugin in plugins)
        options["plugins"] = plugins if own else [*plugins, AtomicCheckpointIO()]
        kind, number = parse_device(self._get(self.config_init, "device"))
        if kind != "auto":
            options["accelerator"] = kind
        if kind == "cuda" and number is not None:
            options["devices"] = [number]
        if chosen["max_epochs"] is None:
            options["max_epochs"] = self.model.epochs
        try:
            return super().instantiate_trainer(**options)
        except ValueError as error:
            raise ConfigError(f"trainer: {error}") from error

    def hold_output(self) -> None:
        """Be the only writer of the output folder until the command ends; of all processes the first alone writes."""
        if self.output is not None and self.trainer.is_global_zero:
            self.held.enter_context(hold(Path(self.output)))

    before_fit = before_predict = hold_output

    def after_fit(self) -> None:
        """Print the figures of the last epoch, and write what was asked for."""
        figures = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        for name, value in figures.items():
            if not math.isfinite(value):
                raise DivergenceError(f"{name} is {value} after training; lower the model.learning_rate")
        if not self.trainer.is_global_zero:
            return
        if self.timer.images_per_second:
            figures["images_per_second"] = statistics.median(self.timer.images_per_second)
        for name, value in figures.items():
            print(f"{name:24} {value:.6g}")
        if self.output is not None and (self.epochs < 1 or self.trainer.fast_dev_run):  # type: ignore[attr-defined]
            raise ConfigError("output: no whole epoch was trained, so nothing is written; see the trainer's limits")
        if self.output is not None:
            self._write_results(prepare_output(self.output), figures)

    def predict(self, model: LitAutoencoder, **options: Any) -> None:
        """Reconstruct the test split, for callbacks and into the output folder."""
        if self.trainer.world_size > 1:
            raise ConfigError(f"trainer.devices: found {self.trainer.world_size}, allowed for predict: 1")
        batches: Any = self.trainer.predict(model, **options)
        if self.output is not None:
            if not batches:
                raise ConfigError("output: no prediction was kept; see return_predictions and the trainer's limits")
            buffer = io.BytesIO()
            np.save(buffer, torch.cat(batches).float().cpu().numpy())
            write_atomically(prepare_output(self.output) / "reconstructions.npy", buffer.getvalue())

    @property
    def output(self) -> str | None:
        """The folder for results."""
        folder: str | None = self.config[self.subcommand].output
        return folder

    @property
    def epochs(self) -> int:
        """How many whole ones were trained; the Trainer counts one that a limit has cut short."""
        return self.trainer.current_epoch - (not self.trainer.is_last_batch)

    def _write_results(self, folder: Path, figures: dict[str, float]) -> None:
        model, data, epochs = self.model.model, self.datamodule, self.epochs
        recipe = self.model.recipe
        if epochs != self.model.epochs:
            recipe = recipe.with_changes(epochs=epochs)
        name, preset_name = names_of(model.architecture, recipe.objective)
        save_checkpoint(folder, model, recipe=recipe, name=name, dataset=data.dataset)
        splits = [load_split(data.dataset, train=part, root=data.data_root) for part in (True, False)]
        metrics = run_metrics(
            measure(model, *splits, device=self.trainer.strategy.root_device, recipe=recipe),
            model=name,
            recipe=recipe,
            dataset=data.dataset,
            epochs=epochs,
            seconds=sum(self.timer.seconds),
            port=figures,
        )
        write_metrics(folder, metrics, history=self.curves.history)
        solver = self.model.hparams["solver"]
        if preset_name and self._follows_recipe() and (solver is not None) == name.startswith("randomized"):
            options = Namespace(model=name, preset=preset_name, dataset=data.dataset, solver=solver)
            write_atomically(folder / RECIPE_NAME, recipe_file(options, recipe).encode())

    def _follows_recipe(self) -> bool:
        """Whether the reference takes the same steps from no more than the recipe."""
        trainer, data, held_out = self.trainer, self.datamodule, self.model.recipe.validation_fraction
        whole = self.epochs == trainer.max_epochs and trainer.num_training_batches == len(data.batches)
        plain = (trainer.gradient_clip_val, trainer.accumulate_grad_batches, trainer.precision) == (None, 1, "32-true")
        same_images = data.shuffle and not (self.model.layerwise and held_out)  # the reference solves for all of them
        return whole and plain and same_images and "weights" not in self.given


def check_trainer_options(chosen: Any) -> None:
    """`ConfigError` for what the Trainer takes and fails at later, or takes to mean nothing."""
    check_integer("trainer.accumulate_grad_batches", chosen["accumulate_grad_batches"], minimum=1)
    if chosen["gradient_clip_val"] is not None:
        check_number("trainer.gradient_clip_val", chosen["gradient_clip_val"], minimum=0)
    strategy, root = chosen["strategy"], str(chosen["default_root_dir"])
    if isinstance(strategy, str) and strategy.endswith(("spawn", "fork", "notebook")):
        raise ConfigError(f"trainer.strategy: found {strategy}, allowed: one that starts processes anew, such as ddp")
    if "://" in root:
        raise ConfigError(f"trainer.default_root_dir: {root} is a URL, allowed: a folder")


def check_agreement(given: dict[str, Any], ckpt_path: str, *, dataset: str | None = None) -> None:
    """`CheckpointError` where an option is not what the checkpoint was trained with: that holds.

    Args:
        given: options for the model by name; with a preset among them, they are all that it says.
        dataset: to go on with.
    """
    checkpoint = read_checkpoint(ckpt_path)
    held = checkpoint.get("hyper_parameters", {})
    trained_on = checkpoint.get("datamodule_hyper_parameters", {}).get("dataset", dataset)
    if dataset not in (None, trained_on):
        raise CheckpointError(f"ckpt_path: {ckpt_path} was trained on {trained_on}, found data.dataset {dataset}")
    if "weights" in given:
        raise ConfigError("model.weights: found beside ckpt_path, allowed: one of them")
    wanted = LitAutoencoder(**given).hparams if given else {}
    for name in wanted if "preset" in given else given:
        if name in held and wanted[name] != held[name]:
            raise CheckpointError(f"ckpt_path: {ckpt_path} has {name} {held[name]}, found model.{name} {wanted[name]}")


def names_of(architecture: Architecture, objective: str) -> tuple[str, str | None]:
    """(model, preset) by which `train` of core_torch would build it; the preset is None where only another objective
    has that shape, and the model `custom` where nothing has.
    """
    for name, models in PRESETS.items():
        for model, other in models:
            for named in (objective, other):
                if preset(name, model, named)[0] == architecture:
                    return model, name if named == objective else None
    return "custom", None


def _of_recipe(name: str, lit: LitAutoencoder) -> Any:
    return getattr(lit.recipe, name)


def run_command(*, program: str) -> None:
    """Run what sys.argv asks for.

    Raises:
        ConfigError: an option or its value is wrong, a combination that Lightning refuses included.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # its hints would bury the figures
    warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # Lightning 2.6's own use of PyTorch
    try:
        with ExitStack() as held:
            Command(program=program, held=held)
    except UserError:
        raise
    except RuntimeError as error:
        if not str(error).startswith("Early stopping conditioned on metric"):
            raise
        raise ConfigError(f"trainer.callbacks: {error}") from error
    except (MisconfigurationException, ImportError, OSError, ValueError) as error:
        if "`tensorboardX`" in str(error):
            raise not_installed("tensorboardX") from error
        raise ConfigError(str(error)) from error
