"""match: find out which layer of a Keras model is which layer of a reference, or refuse with the candidates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from core_torch.parity.candidate import Arrays
from core_torch.parity.recorded import layouts
from core_torch.parity.recorded.layouts import Layout
from core_torch.parity.recorded.reference import Reference
from core_torch.spec.errors import ConfigError


@dataclass(frozen=True)
class Link:
    """One layer of the reference, the Keras layer that has its weights, and how they lie in both."""

    torch: str
    keras: str
    layout: Layout
    paths: tuple[str, ...]  # of the Keras layer's variables

    def variables(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """{name in the layout: array}, of arrays by variable path."""
        found = {name: path for name in self.layout.keras for path in self.paths if path.endswith(f"/{name}")}
        return {name: arrays[path] for name, path in found.items() if path in arrays}


@dataclass(frozen=True)
class Matching:
    """Which layer is which. Print it to see the proposal.

    Attributes:
        links: one for each layer of the reference that has weights.
        moving: the reference's names of weights that have a gradient.
    """

    links: tuple[Link, ...]
    moving: frozenset[str]

    def load(self, model: keras.Model, weights: Arrays) -> None:
        """Set the variables of the Keras model."""
        by_path = {variable.path: variable for variable in model.variables}
        for link in self.links:
            own = {name: weights[key] for name in link.layout.torch if (key := _joined(link.torch, name)) in weights}
            for name, value in link.layout.to_keras(own).items():
                path = next(path for path in link.paths if path.endswith(f"/{name}"))
                by_path[path].assign(np.ascontiguousarray(value))

    def read(self, arrays: Mapping[str, np.ndarray], *, gradients: bool = False) -> Arrays:
        """Arrays by variable path -> arrays in the reference's names and layout.

        Args:
            gradients: return only what has a gradient in the reference.
        """
        found: Arrays = {}
        for link in self.links:
            own = link.variables(arrays)
            for name, value in link.layout.to_torch(own).items() if own else ():
                found[_joined(link.torch, name)] = np.ascontiguousarray(value)
        return {name: array for name, array in found.items() if not gradients or name in self.moving}

    def __str__(self) -> str:
        return "\n".join(f"{link.torch or '(the model)':30} {link.keras}" for link in self.links)


def _joined(layer: str, name: str) -> str:
    return f"{layer}.{name}" if layer else name


def match(reference: Reference, model: keras.Model, *, overrides: Mapping[str, str] | None = None) -> Matching:
    """Propose which Keras layer has the weights of which layer of the reference.

    Layers match if their kinds and shapes do. Of several, equal names decide, then the order in which they stand.

    Args:
        overrides: {reference's layer: Keras's layer}, where the proposal would be wrong or ambiguous.

    Raises:
        ConfigError: a layer has no match, or several of the same shape in another number than the reference.
    """
    given = dict(overrides or {})
    wanted = _torch_layers(reference)
    free = {layer.name: layer for layer in _keras_layers(model)}
    for torch_name, keras_name in given.items():
        if torch_name not in wanted or keras_name not in free:
            raise ConfigError(f"overrides: found {torch_name}: {keras_name}, allowed: {sorted(wanted)}: {sorted(free)}")
    links: dict[str, Link] = {}
    for torch_name, keras_name in given.items():
        links[torch_name] = _link(torch_name, wanted[torch_name], free.pop(keras_name))
    for torch_name, shapes in wanted.items():
        if torch_name not in links:
            fitting = [name for name, layer in free.items() if _fits(shapes, layer)]
            rivals = [
                other
                for other in wanted
                if other not in links and any(_fits(wanted[other], free[keras_name]) for keras_name in fitting)
            ]
            chosen = _choose(torch_name, fitting, rivals=rivals, free=list(free))
            links[torch_name] = _link(torch_name, shapes, free.pop(chosen))
    if free:
        raise ConfigError(f"match: found {', '.join(free)} in Keras only, allowed: a layer of the reference for each")
    return Matching(tuple(links[name] for name in wanted), frozenset(reference.weights) - set(reference.buffers))


def _choose(name: str, fitting: list[str], *, rivals: list[str], free: list[str]) -> str:
    if not fitting:
        raise ConfigError(f"match: {name}: found no Keras layer of its kind and shape, allowed: one of {sorted(free)}")
    same = [other for other in fitting if other.split("/")[-1] == name.replace(".", "_") or other == name]
    if len(same) == 1:
        return same[0]
    if len(fitting) != len(rivals):
        raise ConfigError(f"match: {name}: found {', '.join(fitting)}, allowed: one; name it in overrides")
    return fitting[0]


def _torch_layers(reference: Reference) -> dict[str, dict[str, tuple[int, ...]]]:
    """{layer: {name of its weight: shape}}, in the order of the reference."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, array in reference.weights.items():
        layer, _, name = key.rpartition(".")
        if layer.endswith("out_proj") and _joined(layer.rpartition(".")[0], "in_proj_weight") in reference.weights:
            layer, name = layer.rpartition(".")[0], f"out_proj.{name}"
        found.setdefault(layer, {})[name] = array.shape
    return found


def _keras_layers(model: keras.Model) -> list[Any]:
    """Layers that own variables, attention as a whole, in the order of the model."""
    found: list[Any] = []

    def visit(layer: Any) -> None:
        is_whole = isinstance(layer, keras.layers.MultiHeadAttention | keras.layers.LSTM | keras.layers.GRU)
        children = [] if is_whole else list(getattr(layer, "layers", []))
        if children:
            for child in children:
                visit(child)
        elif layer.variables:
            found.append(layer)

    visit(model)
    return found


def _layout_for(layer: Any, shapes: Mapping[str, tuple[int, ...]]) -> Layout | None:
    kinds = keras.layers
    match layer:
        case kinds.MultiHeadAttention():
            return layouts.attention(layer.num_heads) if "in_proj_weight" in shapes else None
        case kinds.LSTM():
            return layouts.lstm() if "weight_hh_l0" in shapes else None
        case kinds.GRU():
            return layouts.gru() if "weight_hh_l0" in shapes else None
        case kinds.Embedding():
            return layouts.EMBEDDING
        case kinds.BatchNormalization() | kinds.LayerNormalization() | kinds.GroupNormalization():
            return layouts.NORM
        case kinds.DepthwiseConv2D():
            return layouts.depthwise(layer.depth_multiplier)
        case _:
            return layouts.DENSE if "weight" in shapes and len(shapes["weight"]) >= 2 else None


def _fits(shapes: Mapping[str, tuple[int, ...]], layer: Any) -> bool:
    layout = _layout_for(layer, shapes)
    if layout is None or not set(shapes) <= set(layout.torch):
        return False
    try:
        turned = layout.to_keras({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    except (ValueError, KeyError, IndexError):
        return False
    own = {variable.path: tuple(variable.shape) for variable in layer.variables}
    expected = sorted(value.shape for value in turned.values())
    counted = [shape for path, shape in own.items() if "seed_generator" not in path]
    return sorted(counted) == expected


def _link(name: str, shapes: Mapping[str, tuple[int, ...]], layer: Any) -> Link:
    layout = _layout_for(layer, shapes)
    if layout is None or not _fits(shapes, layer):
        raise ConfigError(f"match: {name}: found {layer.name}, allowed: a layer of its kind and of {dict(shapes)}")
    return Link(name, layer.name, layout, tuple(variable.path for variable in layer.variables))
