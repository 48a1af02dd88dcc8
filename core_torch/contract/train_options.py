"""The options of `train`, which mean the same for every port."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from core_torch.contract.architecture import Architecture
from core_torch.contract.command_line import add_data_options
from core_torch.contract.errors import ConfigError, check_choice
from core_torch.contract.layers import ACTIVATIONS
from core_torch.contract.pixels import DATASETS
from core_torch.contract.presets import PRESETS, preset
from core_torch.contract.recipe import CORRUPTIONS, OBJECTIVES, Recipe

RECIPE_OPTIONS = ("epochs", "batch_size", "learning_rate", "seed", "corruption", "corruption_level", "contraction")


def add_train_options(parser: argparse.ArgumentParser, *, models: Sequence[str]) -> None:
    """What is trained, on what, by which numbers, and where the result goes. Values are judged by `chosen`."""
    parser.add_argument("--model", default="shallow", help=f"one of {', '.join(models)} (default shallow)")
    parser.add_argument("--objective", default="standard", help=f"one of {', '.join(OBJECTIVES)} (default standard)")
    parser.add_argument("--preset", default="default", help=f"one of {', '.join(PRESETS)} (default default)")
    add_data_options(parser)
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the training split")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images per step")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="step size")
    parser.add_argument("--seed", type=int, metavar="N", help="of weights, shuffle and noise")
    parser.add_argument("--corruption", metavar="KIND", help=f"of denoising: {', '.join(CORRUPTIONS)}")
    parser.add_argument("--corruption-level", type=float, metavar="X", help="standard deviation, or fraction hit")
    parser.add_argument("--contraction", type=float, metavar="X", help="weight of the contractive penalty")
    for layer in ("hidden", "code"):
        parser.add_argument(f"--{layer}-activation", metavar="NAME", help=f"one of {', '.join(ACTIVATIONS)}")
    parser.add_argument("--output", metavar="DIR", help="write the weights, their manifest and metrics.json there")
    parser.add_argument("--json", metavar="FILE", help="also write the printed values there")


def chosen(options: argparse.Namespace, *, models: Sequence[str]) -> tuple[Architecture, Recipe]:
    """The preset's architecture and recipe with the given options in place.

    Raises:
        ConfigError: a value lies outside its range, or the model or the objective would ignore an option.
    """
    check_choice("model", options.model, models)
    architecture, recipe = preset(options.preset, options.model, options.objective)
    check_choice("dataset", options.dataset, DATASETS)
    of = {"corruption": "denoising", "corruption_level": "denoising", "contraction": "contractive"}
    for name, objective in of.items():
        if getattr(options, name) is not None and options.objective != objective:
            raise ConfigError(f"{name}: found with {options.objective}, allowed with: {objective}")
    activations = {f"{layer}_activation": getattr(options, f"{layer}_activation") for layer in ("hidden", "code")}
    given = {name: value for name, value in activations.items() if value is not None}
    changes = {name: getattr(options, name) for name in RECIPE_OPTIONS}
    return replace(architecture, **given), recipe.with_changes(**changes)
