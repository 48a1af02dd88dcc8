"""The same concept has the same name in each port. Read, not imported: no two frameworks share a process."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from core_torch.__main__ import build_parser as core_parser
from core_torch.spec.recipe import Recipe
from keras_impl.commands import build_parser as keras_parser

ROOT = Path(__file__).parents[2]
# {function: its two homes, and what only one of them needs: a device or an architecture is held by the model in torch}
PAIRS = {
    "build_autoencoder": ("core_torch/models/autoencoder.py", "keras_impl/model.py", set()),
    "load_reference_weights": (
        "core_torch/models/autoencoder.py",
        "keras_impl/weight_layout.py",
        {"architecture"},
    ),
    "to_reference_weights": ("core_torch/models/autoencoder.py", "keras_impl/weight_layout.py", {"architecture"}),
    "save_checkpoint": ("core_torch/models/checkpoint.py", "keras_impl/checkpoint.py", {"architecture"}),
    "load_checkpoint": ("core_torch/models/checkpoint.py", "keras_impl/checkpoint.py", set()),
}
RECIPE_FIELDS = {field.name for field in fields(Recipe)}


def parameters(path: str, name: str) -> list[str]:
    """Of a function or of a class's `__init__`, in order, without `self`."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if getattr(node, "name", None) != name:
            continue
        if isinstance(node, ast.ClassDef):
            node = next(part for part in node.body if getattr(part, "name", None) == "__init__")
        if isinstance(node, ast.FunctionDef):
            given = node.args
            return [each.arg for each in (*given.args, *given.kwonlyargs) if each.arg != "self"]
    raise LookupError(f"{path} has no {name}")


@pytest.mark.parametrize("name", PAIRS)
def test_a_function_takes_the_same_in_torch_and_in_keras(name):
    core, keras, own = PAIRS[name]
    theirs = [parameter for parameter in parameters(keras, name) if parameter not in own]
    assert theirs == parameters(core, name)


def test_train_means_the_same():
    core, keras = parameters("core_torch/training/loop.py", "train"), parameters("keras_impl/training.py", "train")
    assert core[0] == keras[0] == "model"
    assert {"recipe", "validation"} <= {*core} & {*keras}


def test_lightning_s_module_speaks_of_the_recipe():
    module = {*parameters("lightning_impl/model.py", "LitAutoencoder")}
    assert module - RECIPE_FIELDS <= {"architecture", "preset", "weights", "solver"}
    assert module >= RECIPE_FIELDS


def test_lightning_s_data_are_the_command_s():
    data = {*parameters("lightning_impl/data.py", "MNISTDataModule")}
    assert data - RECIPE_FIELDS <= {*options(core_parser())} | {*options(keras_parser())} | {"num_workers", "shuffle"}


def options(parser) -> dict[str, str]:
    """{name: help} of `train`."""
    (commands,) = [action for action in parser._actions if hasattr(action, "choices") and action.choices]
    return {action.dest: action.help for action in commands.choices["train"]._actions}


def test_train_has_the_same_options_in_torch_and_in_keras():
    core, keras = options(core_parser()), options(keras_parser())
    assert core.keys() - keras.keys() <= {"solver", "pretrain", "figures", "checkpoint_every", "resume"}
    for name in core.keys() & keras.keys() - {"model"}:
        assert core[name] == keras[name], name


def test_a_renamed_function_would_be_found():
    with pytest.raises(LookupError):
        parameters("keras_impl/training.py", "fit_model")
    assert parameters("keras_impl/training.py", "train") != parameters("keras_impl/checkpoint.py", "load_checkpoint")
