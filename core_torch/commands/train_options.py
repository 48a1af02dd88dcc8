"""The options of `train`, which mean the same for every port, and the TOML file that can stand for them."""

import argparse
import json
import tomllib
from collections.abc import Sequence
from dataclasses import fields, replace

from core_torch.commands.command_line import add_data_options
from core_torch.files.safe_reading import read_regular
from core_torch.files.splits import DATASETS
from core_torch.spec.architecture import Architecture
from core_torch.spec.errors import ConfigError, check_choice
from core_torch.spec.layers import ACTIVATIONS
from core_torch.spec.presets import PRESETS, preset
from core_torch.spec.recipe import CORRUPTIONS, OBJECTIVES, SOLVERS, Recipe

RECIPE_NAME = "recipe.toml"
LARGEST_RECIPE = 1 << 20  # bytes
RECIPE_FIELDS = tuple(field.name for field in fields(Recipe))
OBJECTIVE_OF = {"corruption": "denoising", "corruption_level": "denoising", "contraction": "contractive"}
RIDGE_FIELDS = ("objective", "corruption", "corruption_level", "contraction", "seed")  # what it depends on
DEFAULTS = {"model": "shallow", "preset": "default", "dataset": "digits", "objective": "standard"}
# Of a recipe file, beside the recipe's own fields; the last two where the command has such an option.
FILE_NAMES = ("model", "preset", "dataset", "hidden_activation", "code_activation", "solver", "pretrain")


def add_train_options(parser: argparse.ArgumentParser, *, models: Sequence[str]) -> None:
    """What is trained, on what, by which numbers, and where the result goes. Values are judged by `chosen`."""
    parser.add_argument("--recipe", metavar="FILE", help="TOML file of these options and more; options given here win")
    parser.add_argument("--model", help=f"one of {', '.join(models)} (default shallow)")
    parser.add_argument("--objective", help=f"one of {', '.join(OBJECTIVES)} (default standard)")
    parser.add_argument("--preset", help=f"one of {', '.join(PRESETS)} (default default)")
    add_data_options(parser)
    parser.set_defaults(dataset=None)  # so that a recipe file can say it; `chosen` fills in the default
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the training split")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images per step")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="step size")
    parser.add_argument("--seed", type=int, metavar="N", help="of weights, shuffle and noise")
    parser.add_argument("--corruption", metavar="KIND", help=f"of denoising: {', '.join(CORRUPTIONS)}")
    parser.add_argument("--corruption-level", type=float, metavar="X", help="standard deviation, or fraction hit")
    parser.add_argument("--contraction", type=float, metavar="X", help="weight of the contractive penalty")
    for layer in ("hidden", "code"):
        parser.add_argument(f"--{layer}-activation", metavar="NAME", help=f"one of {', '.join(ACTIVATIONS)}")
    parser.add_argument("--output", metavar="DIR", help="write the weights, their manifest and the results there")
    parser.add_argument("--json", metavar="FILE", help="also write the printed values there")


def chosen(options: argparse.Namespace, *, models: Sequence[str]) -> tuple[Architecture, Recipe]:
    """The preset's architecture and recipe with the recipe file's values in place, and over them the options.

    `options` that were not given are set to what the file says, or to `DEFAULTS`.

    Raises:
        ConfigError: a value lies outside its range, or the model or the objective would ignore an option, or the
            recipe file cannot be read or holds an unknown name.
    """
    given = {name: value for name, value in vars(options).items() if value is not None}
    values = DEFAULTS | _read_recipe(options) | given
    vars(options).update({name: value for name, value in values.items() if name in vars(options)})
    check_choice("model", options.model, models)
    architecture, recipe = preset(options.preset, options.model, options.objective)
    check_choice("dataset", options.dataset, DATASETS)
    for name, objective in OBJECTIVE_OF.items():
        if name in values and options.objective != objective:
            raise ConfigError(f"{name}: found with {options.objective}, allowed with: {objective}")
    for name in RECIPE_FIELDS:
        if name in values and is_solved(options) and name not in RIDGE_FIELDS:
            raise ConfigError(f"{name}: found with {options.model}, allowed with: solver {SOLVERS[1]}")
    activations = {name: values[name] for name in ("hidden_activation", "code_activation") if name in values}
    changes = {name: values[name] for name in RECIPE_FIELDS if name in values}
    return replace(architecture, **activations), recipe.with_changes(**changes)  # type: ignore[arg-type]


def is_randomized(options: argparse.Namespace) -> bool:
    """Whether the model is trained layer by layer from random weights."""
    return str(options.model).startswith("randomized")


def is_solved(options: argparse.Namespace) -> bool:
    """Whether the model is found in closed form, so that no step is taken."""
    return is_randomized(options) and getattr(options, "solver", None) in (None, SOLVERS[0])


def _read_recipe(options: argparse.Namespace) -> dict[str, object]:
    """What the recipe file says; nothing without one."""
    if options.recipe is None:
        return {}
    try:
        values = tomllib.loads(read_regular(options.recipe, largest=LARGEST_RECIPE).decode())
        str(values)  # refuses an integer too long to be shown
    except OSError as error:
        raise ConfigError(f"recipe: {options.recipe or 'an empty path'} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"recipe: {options.recipe} is not TOML ({error})") from error
    allowed = [*(name for name in FILE_NAMES if name in vars(options)), *RECIPE_FIELDS]
    for name in values:
        check_choice(f"recipe {options.recipe}", name, allowed)
    return values


def recipe_file(options: argparse.Namespace, recipe: Recipe) -> str:
    """The TOML text that stands for a run: `train --recipe` repeats it. `options` have gone through `chosen`."""
    values = {name: getattr(options, name, None) for name in FILE_NAMES} | recipe.to_dict()
    lines = [
        f"{name} = {json.dumps(value)}\n"  # JSON's strings, numbers and booleans are TOML's too
        for name, value in values.items()
        if value is not None
        and OBJECTIVE_OF.get(name, recipe.objective) == recipe.objective
        and (name in FILE_NAMES + RIDGE_FIELDS or not is_solved(options))
    ]
    return "".join(lines)
