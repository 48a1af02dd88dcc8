"""The architectures as functional Keras models: standard layers only, so `.keras` files load in safe mode."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from core_torch.spec.architecture import Architecture, Convolutional, FullyConnected
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.layers import (
    Activation,
    Convolution,
    Dense,
    Flatten,
    Layer,
    MaxPooling,
    TransposedConvolution,
    Unflatten,
)
from keras_impl.tied import TransposedDense
from keras_impl.weight_layout import load_reference_weights

# Images are (N, H, W, C) inside the model on every backend: TensorFlow has no other convolution on a CPU.
CHANNELS_LAST = {"data_format": "channels_last"}
WEIGHTED = (Dense, Convolution, TransposedConvolution)


def build_autoencoder(architecture: Architecture, *, seed: int = 0) -> keras.Model:
    """(N, pixels) in [0, 1] -> (N, pixels), pixels in the reference's order: channel, row, column.

    Its layers "encoder", (N, pixels) -> code (N, code_width), and "decoder", code -> (N, pixels), are models
    themselves; "encoder_0" is the layer made from `encoder_layers()[0]`. Weights start at `initial_weights`.

    It is a Keras model as any other: `model.compile("adam", "mean_squared_error")`, then
    `model.fit(images, images)`, `evaluate`, `predict`; `training.train` follows a recipe instead.
    """
    tied = isinstance(architecture, FullyConnected) and architecture.tied
    pixels = keras.Input((math.prod(architecture.input_shape),), name="pixels")
    code = keras.Input((architecture.code_width,), name="code")
    images = _to_images(pixels, architecture) if isinstance(architecture, Convolutional) else pixels
    encoder = keras.Model(pixels, _stack("encoder", architecture.encoder_layers(), images), name="encoder")
    sources = [layer for layer in encoder.layers if tied and isinstance(layer, layers.Dense)]
    decoded = _stack("decoder", architecture.decoder_layers(), code, sources=sources)
    decoder = keras.Model(code, decoded, name="decoder")
    model = keras.Model(pixels, decoder(encoder(pixels)), name="autoencoder")
    load_reference_weights(model, architecture, initial_weights(architecture, seed=seed))
    return model


def _to_images(pixels: keras.KerasTensor, architecture: Convolutional) -> keras.KerasTensor:
    """(N, C*H*W) -> (N, H, W, C)."""
    channels, side = architecture.channels, architecture.side
    if channels == 1:
        return layers.Reshape((side, side, 1))(pixels)
    return layers.Permute((2, 3, 1))(layers.Reshape((channels, side, side))(pixels))


def _stack(
    part: str, stages: Sequence[Layer], x: keras.KerasTensor, *, sources: Sequence[layers.Dense] = ()
) -> keras.KerasTensor:
    """Apply one layer after another, the dense ones tied to `sources` where there are any, the last first.

    An activation right after weights becomes an argument of their layer, as is usual in Keras: on the torch backend a
    layer of its own adds a fifth to a small model's step.
    """
    waiting = list(sources)
    for index, layer in enumerate(stages):
        if index and isinstance(layer, Activation) and isinstance(stages[index - 1], WEIGHTED):
            continue
        if part == "decoder" and isinstance(layer, Flatten) and x.shape[-1] > 1:
            x = layers.Permute((3, 1, 2))(x)  # the output's pixels are in the reference's order
        following = stages[index + 1] if index + 1 < len(stages) else None
        activation = following.name if isinstance(following, Activation) else "linear"
        name = f"{part}_{index}"
        if waiting and isinstance(layer, Dense):
            x = TransposedDense(waiting.pop(), use_bias=layer.bias, activation=activation, name=name)(x)
        else:
            x = _translate(layer, x, activation=activation, name=name)
    return x


def _translate(layer: Layer, x: keras.KerasTensor, *, activation: str, name: str) -> keras.KerasTensor:
    """One layer kind, one Keras layer; padding or cropping beside it where "same" is not the contract's."""
    # Keras's own starting weights would be thrown away, and drawing them costs seconds of compiling on JAX.
    weighted = {"activation": activation, "kernel_initializer": "zeros", "name": name}
    match layer:
        case Dense(_, outputs, bias):
            return layers.Dense(outputs, use_bias=bias, **weighted)(x)
        case Activation(kind):
            return layers.Activation(kind, name=name)(x)
        case Convolution(_, outputs, kernel, stride, padding):
            same = stride == 1 and padding == ((kernel - 1) // 2, kernel // 2)
            x = x if same else layers.ZeroPadding2D((padding, padding), **CHANNELS_LAST)(x)
            mode = "same" if same else "valid"
            return layers.Conv2D(outputs, kernel, stride, mode, **CHANNELS_LAST, **weighted)(x)
        case MaxPooling(size):
            return layers.MaxPooling2D(size, name=name, **CHANNELS_LAST)(x)
        case TransposedConvolution(_, outputs, kernel, stride, crop):
            excess = kernel - stride
            same = crop == (excess // 2, excess - excess // 2)
            mode = "same" if same else "valid"
            x = layers.Conv2DTranspose(outputs, kernel, stride, mode, **CHANNELS_LAST, **weighted)(x)
            return x if same else layers.Cropping2D((crop, crop), name=f"{name}_cropped", **CHANNELS_LAST)(x)
        case Flatten():
            return layers.Flatten(name=name, **CHANNELS_LAST)(x)
        case Unflatten(channels, side):
            return layers.Reshape((side, side, channels), name=name)(x)
