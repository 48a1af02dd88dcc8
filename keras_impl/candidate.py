"""The Keras port as a candidate, on the backend that KERAS_BACKEND names."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import keras
import numpy as np

from core_torch.spec.architecture import Architecture
from core_torch.spec.errors import check_choice
from core_torch.spec.layers import Flatten, Layer, Unflatten
from core_torch.spec.recipe import Recipe
from keras_impl.model import build_autoencoder
from keras_impl.optimizers import build_optimizer, optimizer_state, set_learning_rate
from keras_impl.resident import resident_loop
from keras_impl.tensors import Tensor
from keras_impl.training import SCORING_BATCH, training_model
from keras_impl.weight_layout import load_reference_weights, to_reference, to_reference_weights

Arrays = dict[str, np.ndarray]


class KerasCandidate:
    """The methods that a comparison asks for, over NumPy arrays in the reference's names and layout.

    Args:
        compile_options: of `keras.Model.compile`, beside the optimizer and the loss.

    Raises:
        ConfigError: float64 on another backend than TensorFlow.
    """

    def __init__(
        self, architecture: Architecture, recipe: Recipe, *, dtype: str = "float32", **compile_options: object
    ) -> None:
        use_dtype(dtype)
        self.architecture, self.recipe, self.dtype = architecture, recipe, dtype
        self.model = build_autoencoder(architecture, seed=recipe.seed)
        # The noise of the denoising objective is in the inputs already.
        objective = "standard" if recipe.objective == "denoising" else recipe.objective
        self.trained = training_model(self.model, recipe.with_changes(objective=objective))
        self.trained.compile(build_optimizer(recipe), "mean_squared_error", **compile_options)
        self.loop = resident_loop(self.trained)  # builds the optimizer's variables
        self.fresh = [np.array(keras.ops.convert_to_numpy(value)) for value in self.trained.optimizer.variables]

    def load(self, weights: Arrays) -> None:
        """Set every weight; put the optimizer back to its start."""
        load_reference_weights(self.model, self.architecture, weights)
        for variable, value in zip(self.trained.optimizer.variables, self.fresh):
            variable.assign(value.copy())  # a copy: JAX may adopt the memory it is given

    def weights(self) -> Arrays:
        """The current weights."""
        return to_reference_weights(self.model, self.architecture)

    def activations(self, inputs: np.ndarray) -> Arrays:
        """The input as the encoder receives it, the layers that `layer_views` finds, and the output."""
        encoder, decoder = self._views
        found = encoder.predict(inputs, batch_size=SCORING_BATCH, verbose=0)
        found |= decoder.predict(found.pop("code"), batch_size=SCORING_BATCH, verbose=0)
        return {name: array.transpose(0, 3, 1, 2) if array.ndim == 4 else array for name, array in found.items()}

    @cached_property
    def _views(self) -> tuple[keras.Model, keras.Model]:
        encoder, decoder = self.model.get_layer("encoder"), self.model.get_layer("decoder")
        views = layer_views(encoder, self.architecture.encoder_layers())
        inside = layer_views(decoder, self.architecture.decoder_layers())
        return (
            keras.Model(encoder.input, {"input": encoder.input, "code": encoder.output} | views),
            keras.Model(decoder.input, {"output": decoder.output} | inside),
        )

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """By the backend's own differentiation."""
        loss, gradients = self.loop.loss_and_gradients(self._tensor(inputs), self._tensor(targets))
        return float(loss), to_reference(gradients, self.trained, self.architecture)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """One step of the resident loop."""
        return float(self.loop.step(self._tensor(inputs), self._tensor(targets)))

    def set_learning_rate(self, learning_rate: float) -> None:
        """From the next step on."""
        set_learning_rate(self.trained.optimizer, learning_rate)

    def optimizer_state(self) -> Arrays:
        """As PyTorch would hold it."""
        return {
            f"{kind}/{name}": array
            for kind, arrays in optimizer_state(self.trained.optimizer).items()
            for name, array in to_reference(arrays, self.trained, self.architecture).items()
        }

    def _tensor(self, array: np.ndarray) -> Tensor:
        return keras.ops.convert_to_tensor(array, self.dtype)


def layer_views(part: keras.Model, layers: Sequence[Layer]) -> dict[str, Any]:
    """{reference name: the tensor inside `part`, the encoder or the decoder, that is that layer's output}.

    Images as vectors are left out: the reference orders them by channels, Keras by pixels.
    """
    found = {layer.name: layer.output for layer in part.layers}
    views: dict[str, Any] = {}
    for index, layer in enumerate(layers):
        name = f"{part.name}_{index}"
        if name not in found:  # an activation, inside the layer before it
            views[f"{part.name}.{index}"] = views.pop(f"{part.name}.{index - 1}")
            continue
        if isinstance(layer, Unflatten):
            views.clear()
        if not isinstance(layer, Flatten):
            views[f"{part.name}.{index}"] = found.get(f"{name}_cropped", found[name])
    return views


def use_dtype(dtype: str) -> None:
    """Build models of this float type from now on; JAX's and torch's partly compute in float32 whatever it says."""
    backend = keras.backend.backend()
    check_choice("dtype", dtype, ("float32", "float64") if backend == "tensorflow" else ("float32",))
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)


def use_full_float32() -> bool:
    """Switch TF32 off, which TensorFlow and JAX use by default; whether there is an accelerator."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            tf.config.experimental.enable_tensor_float_32_execution(False)
            return bool(tf.config.list_physical_devices("GPU"))
        case "jax":
            import jax

            jax.config.update("jax_default_matmul_precision", "highest")
            return jax.default_backend() != "cpu"
        case _:
            import torch

            torch.backends.cudnn.allow_tf32 = False
            return torch.cuda.is_available()


def build_candidate(architecture: Architecture, recipe: Recipe, *, dtype: str = "float32") -> KerasCandidate:
    """The model at the recipe's seed."""
    use_full_float32()
    return KerasCandidate(architecture, recipe, dtype=dtype)
