"""The commands: LightningCLI with the reference's defaults, one-line errors, and the figures at the end.

Options are those of `LitAutoencoder` (--model.*), `MNISTDataModule` (--data.*) and Trainer (--trainer.*), on
the command line or in a YAML file (--config). Nothing is written unless asked for: no logs, no checkpoint.
"""

import logging
import math
import statistics
import warnings
from typing import Any, NoReturn

import lightning as L
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from core_torch.contract.errors import ConfigError, DivergenceError
from core_torch.contract.recipe import Recipe
from lightning_impl.callbacks import EpochTimer
from lightning_impl.checkpoint_io import AtomicCheckpointIO, check_readable
from lightning_impl.datamodule import MNISTDataModule
from lightning_impl.module import LitAutoencoder

CHECKPOINT_KEYWORDS = ("best", "last", "hpc", "registry")  # Lightning takes them besides a path
TRAINER_DEFAULTS = {"max_epochs": Recipe.epochs, "devices": 1, "logger": False, "enable_checkpointing": False}


class OneLineParser(LightningArgumentParser):
    """Answers an error with one line, without the usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with code 2."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise ConfigError(message)


class Command(LightningCLI):
    """Parses, instantiates, runs."""

    def __init__(self, args: ArgsType = None, *, program: str) -> None:
        self.timer = EpochTimer()
        super().__init__(
            LitAutoencoder,
            MNISTDataModule,
            args=args,
            save_config_callback=None,
            seed_everything_default=Recipe.seed,
            trainer_defaults={**TRAINER_DEFAULTS, "callbacks": [self.timer]},
            parser_class=OneLineParser,
            parser_kwargs={"prog": program},
            auto_configure_optimizers=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """One seed for weights, noise, order and held-out choice."""
        parser.link_arguments("model.seed", "data.seed")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and refuse a checkpoint that cannot be read before anything is built."""
        super().parse_arguments(parser, args)
        path = self.config[self.config.subcommand].ckpt_path
        if path in CHECKPOINT_KEYWORDS:
            raise ConfigError(f"ckpt_path: found {path}, allowed: a checkpoint file")
        if path is not None:
            check_readable(path)

    def instantiate_trainer(self, **options: Any) -> L.Trainer:
        """With atomic checkpoints, unless the user names plugins."""
        chosen = self._get(self.config_init, "trainer")["plugins"]
        try:
            return super().instantiate_trainer(**options, plugins=chosen or AtomicCheckpointIO())
        except ValueError as error:
            raise ConfigError(f"trainer: {error}") from error

    def after_fit(self) -> None:
        """Print the figures of the last epoch."""
        figures = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        for name, value in figures.items():
            if not math.isfinite(value):
                raise DivergenceError(f"{name} is {value} after training; lower the model.learning_rate")
        if self.timer.images_per_second:
            figures["images_per_second"] = statistics.median(self.timer.images_per_second)
        for name, value in figures.items():
            print(f"{name:24} {value:.6g}")


def run_command(*, program: str) -> None:
    """Run what sys.argv asks for.

    Raises:
        ConfigError: an option or its value is wrong, a combination that Lightning refuses included.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # its hints would bury the figures
    warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # Lightning 2.6's own use of PyTorch
    try:
        Command(program=program)
    except MisconfigurationException as error:
        raise ConfigError(str(error)) from error
