"""The bridge between Keras variables and the reference's names and layout, both ways and exact."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from core_torch.spec.architecture import Architecture, parameter_shapes
from core_torch.spec.channels_last import layout
from core_torch.spec.errors import CheckpointError
from core_torch.spec.weight_names import check_names_and_shapes

Arrays = dict[str, np.ndarray]

KERAS_NAMES = {"weight": "kernel", "bias": "bias"}


def load_reference_weights(model: keras.Model, architecture: Architecture, weights: Mapping[str, np.ndarray]) -> None:
    """Copy `weights`, in the reference's names and layout, into the model, once all are checked.

    Raises:
        CheckpointError: a name is missing or unexpected, a shape differs, a value is not finite, or the model
            was not built from this architecture.
    """
    check_names_and_shapes(weights, parameter_shapes(architecture), where="weights")
    variables = _variables(model, architecture)
    for name, permutation in layout(architecture).items():
        variables[name].assign(permutation.to_channels_last(weights[name]))


def to_reference_weights(model: keras.Model, architecture: Architecture) -> Arrays:
    """{name: contiguous array} in the reference's names and layout, copied to the host.

    Raises:
        CheckpointError: the model was not built from this architecture.
    """
    return to_reference([variable.value for variable in model.trainable_variables], model, architecture)


def to_reference(arrays: Sequence[object], model: keras.Model, architecture: Architecture) -> Arrays:
    """As `to_reference_weights`, of one array for each of `model.trainable_variables`, such as gradients."""
    listed = model.trainable_variables
    if len(arrays) != len(listed):
        raise CheckpointError(f"arrays: found {len(arrays)}, expected {len(listed)}, one for each variable")
    array_of = {id(variable): array for variable, array in zip(listed, arrays)}
    variables = _variables(model, architecture)
    return {
        name: permutation.to_reference(keras.ops.convert_to_numpy(array_of[id(variables[name])]))
        for name, permutation in layout(architecture).items()
    }


def _variables(model: keras.Model, architecture: Architecture) -> dict[str, keras.Variable]:
    """{reference name: the Keras variable it lives in}; refuses a model of another architecture."""
    found: dict[str, keras.Variable] = {}
    for name, shape in parameter_shapes(architecture).items():
        part, index, parameter = name.split(".")
        try:
            layer = model.get_layer(part).get_layer(f"{part}_{index}")
        except ValueError as error:
            raise CheckpointError(f"model: has no layer {part}_{index}, expected one for {name}") from error
        variable = getattr(layer, KERAS_NAMES[parameter], None)
        held = None if variable is None else tuple(variable.shape)
        if held != shape[::-1]:
            raise CheckpointError(f"model: {name} lives in shape {held}, expected {shape[::-1]}")
        found[name] = variable
    if len(found) != len(model.trainable_variables):
        raise CheckpointError(
            f"model: found {len(model.trainable_variables)} trainable variables, expected {len(found)}"
        )
    return found
