"""Tied weights: a decoder layer whose kernel is that of an encoder layer, transposed."""

from typing import Any

import keras
from keras import ops

from core_torch.spec.errors import CheckpointError
from keras_impl.tensors import Tensor


class TransposedDense(keras.layers.Layer):
    """x (N, units of `source`) -> activation(x W^T + b) (N, inputs of `source`), W (inputs, units) being its kernel."""

    def __init__(self, source: keras.layers.Dense, *, use_bias: bool, activation: str, name: str) -> None:
        super().__init__(name=name)
        self.source, self.activation = source, keras.activations.get(activation)
        width = source.kernel.shape[0]
        self.bias = self.add_weight(shape=(width,), initializer="zeros", name="bias") if use_bias else None

    def call(self, x: Tensor) -> Tensor:
        """Of the width of what `source` is given."""
        x = ops.matmul(x, ops.transpose(self.source.kernel))
        return self.activation(x if self.bias is None else x + self.bias)

    def get_config(self) -> dict[str, Any]:
        """What it is, but for `source`, which no file can point to."""
        inherited: dict[str, Any] = super().get_config()
        return inherited | {"activation": keras.activations.serialize(self.activation)}

    def save_own_variables(self, store: object) -> None:
        """`CheckpointError`: read from a `.keras` file, the weights would no longer be tied."""
        raise CheckpointError("tied: found True, allowed in a .keras file: False; save_checkpoint writes the weights")
