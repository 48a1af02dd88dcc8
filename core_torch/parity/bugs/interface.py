"""Bugs in what goes in and out of a model: names and values of weights, and pixels."""

import numpy as np

from core_torch.parity.bugs.bug import Bug
from core_torch.parity.bugs.layers import (
    flatten_order,
    kernel_flipped,
    kernel_rows_and_columns_swapped,
    of_part,
    transposed_if_square,
)
from core_torch.parity.bugs.places import has_biases, has_square_weight, is_convolutional
from core_torch.parity.problem import Problem
from core_torch.spec.initial_weights import initial_weights


def _images(pixels: np.ndarray) -> np.ndarray:
    side = round(pixels.shape[1] ** 0.5)
    return pixels.reshape(-1, side, side)


def _own_weights(name: str, value: np.ndarray, problem: Problem) -> np.ndarray:
    return initial_weights(problem.architecture, seed=99)[name]


def _unchanged(name: str, value: np.ndarray, problem: Problem) -> np.ndarray:
    return value


def _bfloat16(array: np.ndarray) -> np.ndarray:
    """Keep the upper half of a float32."""
    return (array.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(array.dtype)


WEIGHT_BUGS: dict[str, Bug] = {
    "a parameter is missing": Bug("the last parameter is not handed out", hands_out=lambda w: dict([*w.items()][:-1])),
    "an extra tensor": Bug("a counter is handed out as a parameter", hands_out=lambda w: w | {"step": np.zeros(1)}),
    "names of another framework": Bug(
        "weights are handed out as kernels",
        hands_out=lambda w: {k.replace("weight", "kernel"): v for k, v in w.items()},
    ),
    "weights handed out transposed": Bug(
        "weights are handed out as (inputs, outputs)", hands_out=lambda w: {k: v.T for k, v in w.items()}
    ),
    "biases with two dimensions": Bug(
        "biases are handed out as (1, units)",
        hands_out=lambda w: {k: v[None] if k.endswith("bias") else v for k, v in w.items()},
        needs=has_biases,
    ),
    "weights handed out flat": Bug(
        "weights are handed out as vectors", hands_out=lambda w: {k: v.ravel() for k, v in w.items()}
    ),
    "weights handed out in half precision": Bug(
        "weights are handed out as float16", hands_out=lambda w: {k: v.astype(np.float16) for k, v in w.items()}
    ),
    "weights not loaded": Bug("the model keeps weights of its own", reads=(_own_weights, _unchanged)),
    "biases not loaded": Bug(
        "biases start at zero, whatever is loaded",
        reads=(lambda name, value, problem: 0 * value if name.endswith("bias") else value, _unchanged),
        needs=has_biases,
    ),
    "weights loaded in half precision": Bug(
        "weights pass through float16 on the way in",
        reads=(lambda name, value, problem: value.astype(np.float16).astype(value.dtype), _unchanged),
    ),
    "weights loaded in bfloat16": Bug(
        "weights pass through bfloat16 on the way in",
        reads=(lambda name, value, problem: _bfloat16(value), _unchanged),
    ),
    "decoder tied": Bug(
        "the decoder's last weight is that of the encoder, transposed",
        hands_out=lambda w: w | {[k for k in w if k.endswith("weight")][-1]: w["encoder.0.weight"].T},
        needs=lambda problem: not is_convolutional(problem),
    ),
}
PIXEL_BUGS: dict[str, Bug] = {
    "pixels times 1/255": Bug(
        "pixels are multiplied by 1/255 where the contract divides by 255",
        fed=lambda x: np.rint(x * 255).astype(np.float32) * np.float32(1 / 255),
    ),
    "pixels divided by 256": Bug("pixels are divided by 256", fed=lambda x: x * (255 / 256)),
    "pixels as grey levels": Bug("pixels are fed as 0 to 255", fed=lambda x: x * 255),
    "pixels divided twice": Bug("pixels are divided by 255 twice", fed=lambda x: x / 255),
    "pixels normalised": Bug("pixels are normalised to [-1, 1]", fed=lambda x: 2 * x - 1),
    "pixels standardised": Bug(
        "pixels are standardised by MNIST's mean and deviation", fed=lambda x: (x - 0.1307) / 0.3081
    ),
    "pixels centred": Bug("the mean of each image is subtracted", fed=lambda x: x - x.mean(axis=1, keepdims=True)),
    "pixels inverted": Bug("black and white are swapped", fed=lambda x: 1 - x),
    "pixels binary": Bug("pixels are rounded to black and white", fed=np.rint),
    "pixels in half precision": Bug("pixels pass through float16", fed=lambda x: x.astype(np.float16)),
    "last pixel black": Bug(
        "the last pixel is black", fed=lambda x: np.concatenate([x[:, :-1], 0 * x[:, -1:]], axis=1)
    ),
    "one pixel to the right": Bug("images are moved by one pixel", fed=lambda x: np.roll(x, 1, axis=1)),
    "rows and columns swapped": Bug(
        "images are read column by column", fed=lambda x: _images(x).transpose(0, 2, 1).reshape(x.shape)
    ),
    "images upside down": Bug("images stand on their heads", fed=lambda x: _images(x)[:, ::-1].reshape(x.shape)),
    "images mirrored": Bug("left and right are swapped", fed=lambda x: _images(x)[:, :, ::-1].reshape(x.shape)),
    "images out of order": Bug("each image is taken for the next", fed=lambda x: np.roll(x, 1, axis=0)),
}
LAYOUT_BUGS: dict[str, Bug] = {
    "square weights transposed": Bug(
        "square weights are loaded transposed", reads=(transposed_if_square,) * 2, needs=has_square_weight
    ),
    "flatten order": Bug(
        "the dense weights at the convolutions are read as (height, width, channel)",
        reads=(lambda *a: flatten_order(*a, into=True), lambda *a: flatten_order(*a, into=False)),
        needs=is_convolutional,
    ),
    "flatten order of the decoder": Bug(
        "the decoder's first dense weight is read as (height, width, channel)",
        reads=(
            lambda *a: flatten_order(*a, into=True, part="decoder"),
            lambda *a: flatten_order(*a, into=False, part="decoder"),
        ),
        needs=is_convolutional,
    ),
    "kernels flipped": Bug("kernels are flipped", reads=(kernel_flipped,) * 2, needs=is_convolutional),
    "kernels of convolutions flipped": Bug(
        "kernels of convolutions are flipped", reads=(of_part("encoder", kernel_flipped),) * 2, needs=is_convolutional
    ),
    "kernels of transposed convolutions flipped": Bug(
        "kernels of transposed convolutions are flipped",
        reads=(of_part("decoder", kernel_flipped),) * 2,
        needs=is_convolutional,
    ),
    "kernels transposed": Bug(
        "rows and columns of kernels are swapped", reads=(kernel_rows_and_columns_swapped,) * 2, needs=is_convolutional
    ),
    "kernels of convolutions transposed": Bug(
        "rows and columns of the convolutions' kernels are swapped",
        reads=(of_part("encoder", kernel_rows_and_columns_swapped),) * 2,
        needs=is_convolutional,
    ),
}
