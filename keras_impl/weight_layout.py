"""The bridge between Keras variables and the reference's names and layout, both ways and exact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from core_torch.contract.architecture import Architecture, parameter_shapes
from core_torch.contract.errors import CheckpointError
from core_torch.contract.layers import Convolution, Dense, Flatten, Layer, TransposedConvolution, Unflatten
from core_torch.contract.weights_file import check_names_and_shapes

Arrays = dict[str, np.ndarray]
Shape = tuple[int, ...]

KERAS_NAMES = {"weight": "kernel", "bias": "bias"}


@dataclass(frozen=True)
class Turn:
    """How one array changes layout: view it as `grouped`, transpose by `axes`, view it in the Keras shape.

    The Keras shape is the reference's reversed, for every parameter: (out, in) -> (in, out),
    (out, in, k, k) -> (k, k, in, out), and for transposed convolutions (in, out, k, k) -> (k, k, out, in).
    """

    shape: Shape  # the reference's
    grouped: Shape
    axes: Shape

    def to_keras(self, array: np.ndarray) -> np.ndarray:
        """A new contiguous array in Keras's layout."""
        turned = np.asarray(array).reshape(self.grouped).transpose(self.axes)
        return np.array(turned, order="C").reshape(self.shape[::-1])

    def to_reference(self, array: np.ndarray) -> np.ndarray:
        """A new contiguous array in the reference's layout."""
        turned = array.reshape([self.grouped[axis] for axis in self.axes]).transpose(np.argsort(self.axes))
        return np.array(turned, order="C").reshape(self.shape)


def layout(architecture: Architecture) -> dict[str, Turn]:
    """{reference name: turn} for every parameter, in the reference's order."""
    parts = {"encoder": architecture.encoder_layers(), "decoder": architecture.decoder_layers()}
    # (C, H, W) where the decoder unflattens, which is what the encoder flattens.
    seams = (layer for layer in parts["decoder"] if isinstance(layer, Unflatten))
    image = next(((seam.channels, seam.side, seam.side) for seam in seams), None)
    rows: dict[str, tuple[Shape, Shape]] = {}
    for part, layers in parts.items():
        for index, layer in enumerate(layers):
            image_in = image if index > 0 and isinstance(layers[index - 1], Flatten) else None
            becomes_image = any(isinstance(later, Unflatten) for later in layers[index + 1 : index + 3])
            image_out = image if becomes_image else None
            table = _table(layer, image_in=image_in, image_out=image_out)
            rows |= {f"{part}.{index}.{parameter}": row for parameter, row in table.items()}
    return {name: Turn(shape, *rows[name]) for name, shape in parameter_shapes(architecture).items()}


def _table(
    layer: Layer, *, image_in: Shape | None, image_out: Shape | None
) -> dict[str, tuple[Shape, Shape]]:
    """{parameter: (grouped shape, axes)}. Keras flattens images as (H, W, C), the reference as (C, H, W)."""
    match layer:
        case Dense(_, outputs) if image_in:
            return {"weight": ((outputs, *image_in), (2, 3, 1, 0)), "bias": ((outputs,), (0,))}
        case Dense(inputs, _) if image_out:
            return {"weight": ((*image_out, inputs), (3, 1, 2, 0)), "bias": (image_out, (1, 2, 0))}
        case Dense(inputs, outputs):
            return {"weight": ((outputs, inputs), (1, 0)), "bias": ((outputs,), (0,))}
        case Convolution(inputs, outputs, kernel):
            return {"weight": ((outputs, inputs, kernel, kernel), (2, 3, 1, 0)), "bias": ((outputs,), (0,))}
        case TransposedConvolution(inputs, outputs, kernel):
            return {"weight": ((inputs, outputs, kernel, kernel), (2, 3, 1, 0)), "bias": ((outputs,), (0,))}
        case _:
            return {}


def load_reference_weights(
    model: keras.Model, architecture: Architecture, weights: Mapping[str, np.ndarray]
) -> None:
    """Copy `weights`, in the reference's names and layout, into the model, once all are checked.

    Raises:
        CheckpointError: a name is missing or unexpected, a shape differs, a value is not finite, or the model
            was not built from this architecture.
    """
    check_names_and_shapes(weights, parameter_shapes(architecture), where="weights")
    variables = _variables(model, architecture)
    for name, turn in layout(architecture).items():
        variables[name].assign(turn.to_keras(weights[name]))


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
        name: turn.to_reference(keras.ops.convert_to_numpy(array_of[id(variables[name])]))
        for name, turn in layout(architecture).items()
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
