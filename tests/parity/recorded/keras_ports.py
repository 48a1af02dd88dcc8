"""Keras ports of layers of PyTorch, right ones and one wrong; run as a script on the backend of KERAS_BACKEND.

python keras_ports.py FOLDER    reads FOLDER/NAME.safetensors, prints a line of JSON for each comparison
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from core_torch.parity import Reference, compare
from core_torch.parity.adapters.keras import KerasCandidate
from core_torch.parity.adapters.keras_matching import match
from core_torch.parity.recorded.diagnosis import fitting_bugs


def squared(targets, outputs):
    return ops.square(outputs - targets)


def crossed(targets, outputs):
    return keras.losses.sparse_categorical_crossentropy(targets, outputs, from_logits=True)


def convolution() -> keras.Model:
    x = inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, activation="relu", name="stem")(x)
    x = layers.DepthwiseConv2D(3, name="depth")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


def recurrent(kind) -> keras.Model:
    inputs = keras.Input((5, 4))
    return keras.Model(inputs, layers.Dense(2, name="head")(kind(6, name="recurrent")(inputs)))


def attention() -> keras.Model:
    inputs = keras.Input((5, 8))
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(inputs)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(x)))


BUILD = {
    "convolution": convolution,
    "lstm": lambda: recurrent(layers.LSTM),
    "gru": lambda: recurrent(layers.GRU),
    "attention": attention,
}


def port(name: str, reference: Reference, *, rate: float = 0.1) -> KerasCandidate:
    is_image = name == "convolution"
    model = BUILD[name]()
    return KerasCandidate(
        model,
        loss=crossed if is_image else squared,
        optimizer=keras.optimizers.SGD(rate, momentum=0.9),
        matching=match(reference, model),
        to_keras=(lambda x: np.moveaxis(x, 1, -1)) if is_image else (lambda x: x),
    )


def main() -> None:
    for name in BUILD:
        reference = Reference.load(Path(sys.argv[1]) / f"{name}.safetensors")
        right = compare(reference, port(name, reference))
        wrong = compare(reference, port(name, reference, rate=0.05))
        failed = right.first_failed
        row = {
            "name": name,
            "right": right.passed,
            "level": failed.level if failed else "",
            "worst": max(level.worst.excess for level in right.levels if level.worst),
            "wrong": wrong.first_failed.level if wrong.first_failed else "",
            "bugs": fitting_bugs(wrong),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
