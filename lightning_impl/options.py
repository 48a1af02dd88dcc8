"""The options by name, read from the source of the classes that LightningCLI takes them from: to import those takes
seconds, in which neither help nor a misspelt name would be answered.
"""

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from core_torch.commands.command_line import Parser
from core_torch.spec.extras import not_installed

COMMANDS = {
    "fit": "train, and print the validation error",
    "validate": "print the error on the held-out images",
    "test": "print the error on the test split",
    "predict": "reconstruct the test split, for a callback to use",
}
DATA_FIELDS = ("batch_size", "validation_fraction", "seed")  # of the data, which are what the model's recipe says
OUTPUT_HELP = (
    "folder for the results of fit: weights.safetensors, manifest.json, metrics.json and recipe.toml; "
    "of predict: reconstructions.npy"
)
DEVICE_HELP = "auto, cpu, cuda or cuda:N, in place of the trainer's accelerator and devices"
TRAINER_DEFAULTS = {"devices": 1, "logger": False, "enable_checkpointing": False}  # instead of its own
GENERAL = {
    "--config": "YAML file of these options; of several the last wins",
    "--print_config": "print all options with their values, and stop",
    "--seed_everything": "of what no recipe seeds",
    "--output": OUTPUT_HELP,
    "--device": DEVICE_HELP,
    "--ckpt_path": "checkpoint of fit to go on from, or to look at",
    "--weights_only": "no other is ever read",
}


def build_parser(command: str) -> Parser:
    """Of the options of a command; `ConfigError` where Lightning is not installed."""
    found = find_spec("lightning")
    if found is None or not found.submodule_search_locations:
        raise not_installed("lightning")
    here, there = Path(__file__).parent, Path(found.submodule_search_locations[0])
    homes = {
        "model": (here / "model.py", "LitAutoencoder"),
        "data": (here / "data.py", "MNISTDataModule"),
        "trainer": (there / "pytorch" / "trainer" / "trainer.py", "Trainer"),
    }
    program = f"python -m lightning_impl {command}"
    parser = Parser(prog=program, usage=f"{program} [options]", description=COMMANDS[command])
    for name, text in GENERAL.items():
        parser.add_argument(*(["-c"] if name == "--config" else []), name, help=text)
    own = {"predict": "return_predictions", "validate": "verbose", "test": "verbose"}
    if command in own:
        parser.add_argument(f"--{own[command]}", help="of the Trainer's method")
    for group, (path, owner) in homes.items():
        section = parser.add_argument_group(f"--{group}, a YAML file of {owner}'s arguments, or one by one")
        options = [section.add_argument(f"--{group}", help="YAML file")]
        for name, annotation, default, text in _arguments(path, owner):
            if group == "data" and name in DATA_FIELDS:
                continue
            if group == "trainer":
                default = str(TRAINER_DEFAULTS.get(name, default))
            metavar, text = f"{annotation} = {default}", text.replace("%", "%%")
            options.append(section.add_argument(f"--{group}.{name}", metavar=metavar, help=text))
        parser.option_names += (name for option in options for name in option.option_strings)
    return parser


def _arguments(path: Path, owner: str) -> Iterator[tuple[str, str, str, str]]:
    """(name, type, default, what the docstring says), as they are written, of a class's `__init__`."""
    (home,) = (node for node in ast.parse(path.read_text()).body if getattr(node, "name", None) == owner)
    (made,) = (node for node in ast.walk(home) if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    written = "\n".join(ast.get_docstring(node) or "" for node in (home, made))  # type: ignore[arg-type]
    texts = dict(re.findall(r"^ +(\w+): ((?:.|\n)+?)(?=\n *\n|\n {4}\w+: |\Z)", written, re.MULTILINE))
    given = made.args
    defaults = [*given.defaults, *given.kw_defaults]
    for argument, default in zip([*given.args, *given.kwonlyargs][-len(defaults) :], defaults):
        annotation, value = (ast.unparse(node or ast.Constant(None)) for node in (argument.annotation, default))
        yield argument.arg, annotation, value, " ".join(texts.get(argument.arg, "").split())
