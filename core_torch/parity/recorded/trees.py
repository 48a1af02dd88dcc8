"""Trees: inputs and targets that are one array, or tuples and dictionaries of arrays."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core_torch.spec.errors import ConfigError

Tree = Any  # an array, or a tuple or dictionary of trees
Tensors = Any  # the same of a framework's tensors
Json = Any  # what `json.loads` returns
Arrays = dict[str, np.ndarray]


def flatten(tree: Tree, *, name: str) -> Arrays:
    """Name every array of a tree: `name` alone, or `name.0`, `name.mask` and so on.

    Raises:
        ConfigError: a leaf is not an array of numbers or booleans.
    """
    if isinstance(tree, Mapping):
        branches = [(str(key), branch) for key, branch in tree.items()]
    elif isinstance(tree, tuple | list):
        branches = [(str(index), branch) for index, branch in enumerate(tree)]
    else:
        return {name: _leaf(tree, name=name)}
    return {key: leaf for branch, part in branches for key, leaf in flatten(part, name=f"{name}.{branch}").items()}


def _leaf(value: object, *, name: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"{name}: found {type(value).__name__}, allowed: an array of numbers") from error
    if array.dtype.kind not in "fiub":
        raise ConfigError(
            f"{name}: found {value if value is None else array.dtype}, allowed: an array of numbers or booleans"
        )
    return array


def map_leaves(function: Callable[[Tree], Tree], tree: Tree) -> Tree:
    """Apply a function to every leaf; lists become tuples."""
    if isinstance(tree, Mapping):
        return {key: map_leaves(function, branch) for key, branch in tree.items()}
    if isinstance(tree, tuple | list):
        return tuple(map_leaves(function, branch) for branch in tree)
    return function(tree)


def describe_tree(tree: Tree) -> Json:
    """Describe a tree as JSON, so that `build_tree` can put its arrays together again."""
    if isinstance(tree, Mapping):
        return {str(key): describe_tree(branch) for key, branch in tree.items()}
    if isinstance(tree, tuple | list):
        return [describe_tree(branch) for branch in tree]
    return "array"


def build_tree(description: Json, arrays: Mapping[str, np.ndarray], *, name: str) -> Tree:
    """Put a tree together from its description and the arrays that `flatten` named."""
    if isinstance(description, Mapping):
        return {key: build_tree(part, arrays, name=f"{name}.{key}") for key, part in description.items()}
    if isinstance(description, list):
        return tuple(build_tree(part, arrays, name=f"{name}.{index}") for index, part in enumerate(description))
    return arrays[name]


def cast_floats(tree: Tree, dtype: str) -> Tree:
    """Convert the floats of a tree to `dtype`; whole numbers and booleans keep their type."""
    return map_leaves(lambda leaf: leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf.copy(), tree)


def join_batches(trees: list[Tree]) -> Tree:
    """Put batches one after the other along their first axis."""
    flat = [flatten(tree, name="") for tree in trees]
    joined = {name: np.concatenate([arrays[name] for arrays in flat]) for name in flat[0]}
    return build_tree(describe_tree(trees[0]), joined, name="")


def first_sample(tree: Tree) -> Tree:
    """Cut a batch down to its first sample; the axis stays."""
    return map_leaves(lambda leaf: leaf[:1], tree)
