"""The options of `train`, which mean the same for every port, and the TOML file that can stand for them."""

import argparse
import json
import tomllib
from collections.abc import Sequence
from dataclasses import Field, fields, replace

from core_torch.commands.command_line import add_data_options, add_device_option, add_json_option
from core_torch.files.safe_reading import read_regular
from core_torch.files.splits import DATASETS
from core_torch.spec.architecture import Architecture, FullyConnected
from core_torch.spec.errors import ConfigError, check_choice
from core_torch.spec.presets import PRESETS, preset
from core_torch.spec.recipe import SOLVERS, Recipe

RECIPE_NAME = "recipe.toml"
LARGEST_RECIPE = 1 << 20  # bytes
# The output's activation follows from the loss, so it is no option.
ACTIVATION_NAMES = ("hidden_activation", "code_activation")
ARCHITECTURE_FIELDS = tuple(field for field in fields(FullyConnected) if field.name in ACTIVATION_NAMES)
METAVARS: dict[object, str] = {int: "N", float: "X", str: "NAME"}
RECIPE_FIELDS = tuple(field.name for field in fields(Recipe))
OBJECTIVE_OF = {"corruption": "denoising", "corruption_level": "denoising", "contraction": "contractive"}
RIDGE_FIELDS = ("objective", "corruption", "corruption_level", "contraction", "seed")  # what it depends on
DEFAULTS = {"model": "shallow", "preset": "default", "dataset": "digits", "objective": "standard"}
# Of a recipe file, beside the recipe's own fields; the last two where the command has such an option.
FILE_NAMES = ("model", "preset", "dataset", *ACTIVATION_NAMES, "solver", "pretrain")


def add_train_options(parser: argparse.ArgumentParser, *, models: Sequence[str], several: bool = False) -> None:
    """Add what is trained, on what, by which numbers, and where the result goes. `resolve_options` checks values.

    Args:
        several: whether an option with a value takes several.
    """
    nargs = "+" if several else None
    parser.add_argument("--recipe", metavar="FILE", help="TOML file of these options; options given here win")
    parser.add_argument("--model", nargs=nargs, help=f"one of {', '.join(models)} (default shallow)")
    parser.add_argument("--preset", nargs=nargs, help=f"one of {', '.join(PRESETS)} (default default)")
    add_data_options(parser)
    parser.set_defaults(dataset=None)  # so that a recipe file can set it; `resolve_options` fills in the default
    for option in (*fields(Recipe), *ARCHITECTURE_FIELDS):
        _add_field(parser, option, nargs=nargs)
    parser.add_argument("--output", metavar="DIR", help="write the weights, their manifest and the results there")
    add_json_option(parser)
    add_device_option(parser)
    if not several:
        parser.add_argument(
            "--tensorboard", metavar="DIR", help="write the curves there as event files, epoch by epoch"
        )


def _add_field(parser: argparse.ArgumentParser, option: "Field[object]", *, nargs: str | None) -> None:
    """Add the option that a field declares."""
    name, text = f"--{option.name.replace('_', '-')}", option.metadata["help"]
    if option.type is bool:
        parser.add_argument(name, action=argparse.BooleanOptionalAction, help=text)
    else:
        metavar = METAVARS[option.type]
        parser.add_argument(name, type=option.type, nargs=nargs, metavar=metavar, help=text)


def resolve_options(options: argparse.Namespace, *, models: Sequence[str]) -> tuple[Architecture, Recipe]:
    """Return the preset's architecture and recipe, changed by the recipe file and then by the options.

    `options` that were not given are set to the file's values, or to `DEFAULTS`.

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
    activations = {field.name: values[field.name] for field in ARCHITECTURE_FIELDS if field.name in values}
    changes = {name: values[name] for name in RECIPE_FIELDS if name in values}
    return replace(architecture, **activations), recipe.with_changes(**changes)  # type: ignore[arg-type]


def is_randomized(options: argparse.Namespace) -> bool:
    """Say whether the model is trained layer by layer from random weights."""
    return str(options.model).startswith("randomized")


def is_solved(options: argparse.Namespace) -> bool:
    """Say whether the model is solved in closed form, without a step."""
    return is_randomized(options) and getattr(options, "solver", None) in (None, SOLVERS[0])


def _read_recipe(options: argparse.Namespace) -> dict[str, object]:
    """Read the values of the recipe file; none without one."""
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
    """Write the TOML text of a run, which `train --recipe` repeats; `options` come from `resolve_options`."""
    values = {name: getattr(options, name, None) for name in FILE_NAMES} | recipe.to_dict()
    lines = [
        f"{name} = {json.dumps(value)}\n"  # JSON's strings, numbers and booleans are TOML's too
        for name, value in values.items()
        if value is not None
        and OBJECTIVE_OF.get(name, recipe.objective) == recipe.objective
        and (name in FILE_NAMES + RIDGE_FIELDS or not is_solved(options))
    ]
    return "".join(lines)
