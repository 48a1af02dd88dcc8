"""Bugs in what layers compute: precision, convolutions, pools, biases, and units that are left out."""

from collections.abc import Callable

import numpy as np

from core_torch.parity.bugs.bug import Bug, LayerEdit
from core_torch.parity.bugs.layers import WEIGHTED, HalfPrecision, MeanPooling, TensorFloat32, shifted
from core_torch.parity.bugs.places import has_biases, has_hidden_layers, has_pools, is_convolutional
from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.parity.problem import Problem
from core_torch.spec.layers import Activation, Convolution, Dense, Layer, TransposedConvolution


class BrainFloat(Oracle):
    """Round what weighted layers return to bfloat16."""

    def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        result = super()._forward(name, layer, x)
        if not isinstance(layer, WEIGHTED):
            return result
        bits = result.astype(np.float32).view(np.uint32) + np.uint32(0x8000)
        return (bits & np.uint32(0xFFFF0000)).view(np.float32).astype(result.dtype)


class BiasOff(Oracle):
    """Add a multiple of each bias of some layers."""

    share = 0.0
    kinds: tuple[type[Layer], ...] = WEIGHTED

    def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        key = f"{name}.bias"
        if not isinstance(layer, self.kinds) or key not in self.weights:
            return super()._forward(name, layer, x)
        kept = self.weights[key]
        self.weights[key] = self.dtype(self.share) * kept
        result = super()._forward(name, layer, x)
        self.weights[key] = kept
        return result

    def backward(self, name: str, layer: Layer, x: np.ndarray, upstream: np.ndarray) -> tuple[np.ndarray, Arrays]:
        """Scale the gradient of the bias likewise."""
        down, own = super().backward(name, layer, x, upstream)
        key = f"{name}.bias"
        if isinstance(layer, self.kinds) and key in own:
            own[key] = self.dtype(self.share) * own[key]
        return down, own


def bias_off(share: float, *kinds: type[Layer]) -> type[Oracle]:
    """Make an oracle that adds `share` of each bias of those kinds of layer."""
    return type("BiasOffBy", (BiasOff,), {"share": share, "kinds": kinds or WEIGHTED})


class UnitLeftOut(Oracle):
    """Set one unit, or filter, behind an activation to 0."""

    ending = "code"
    unit = 0

    def _is_spoilt(self, name: str, layer: Layer) -> bool:
        if not isinstance(layer, Activation):
            return False
        return (name == self.code_layer) if self.ending == "code" else name == "encoder.1"

    def _without(self, array: np.ndarray) -> np.ndarray:
        kept = array.copy()
        kept[:, self.unit] = 0
        return kept

    def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        result = super()._forward(name, layer, x)
        return self._without(result) if self._is_spoilt(name, layer) else result

    def backward(self, name: str, layer: Layer, x: np.ndarray, upstream: np.ndarray) -> tuple[np.ndarray, Arrays]:
        """Let no gradient through the unit either."""
        upstream = self._without(upstream) if self._is_spoilt(name, layer) else upstream
        return super().backward(name, layer, x, upstream)


def unit_left_out(ending: str, unit: int) -> type[Oracle]:
    """Make an oracle without that unit of the code, or of the first hidden layer."""
    return type("WithoutUnit", (UnitLeftOut,), {"ending": ending, "unit": unit})


class OtherBorders(Oracle):
    """Pad convolutions with something else than zeros."""

    mode = "edge"

    def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        if not isinstance(layer, Convolution) or not sum(layer.padding):
            return super()._forward(name, layer, x)
        padded = np.pad(x, ((0, 0), (0, 0), layer.padding, layer.padding), mode=self.mode)  # type: ignore[call-overload]
        unpadded = Convolution(layer.inputs, layer.outputs, layer.kernel, layer.stride, (0, 0))
        return super()._forward(name, unpadded, padded)


class ReflectedBorders(OtherBorders):
    """Pad with the mirror image."""

    mode = "reflect"


class MinimumPooling(Oracle):
    """Take the least value of each block."""

    def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        is_pool = hasattr(layer, "size")
        return -super()._forward(name, layer, -x) if is_pool else super()._forward(name, layer, x)

    def backward(self, name: str, layer: Layer, x: np.ndarray, upstream: np.ndarray) -> tuple[np.ndarray, Arrays]:
        """Send the gradient to the least."""
        return super().backward(name, layer, -x if hasattr(layer, "size") else x, upstream)


def _shift(kind: type[Layer], field_name: str) -> LayerEdit:
    def edit(name: str, layer: Layer, candidate: OracleCandidate) -> Layer:
        return shifted(layer, field_name) if isinstance(layer, kind) else layer

    return edit


def _can_shift(kind: type[Layer], field_name: str) -> Callable[[Problem], bool]:
    """Make a check whether some layer of the kind has a pixel to shift."""

    def check(problem: Problem) -> bool:
        layers = [*problem.architecture.encoder_layers(), *problem.architecture.decoder_layers()]
        return any(isinstance(layer, kind) and shifted(layer, field_name) != layer for layer in layers)

    return check


COMPUTING_BUGS: dict[str, Bug] = {
    "half precision": Bug("layers compute in float16", oracle=HalfPrecision),
    "bfloat16": Bug("layers compute in bfloat16", oracle=BrainFloat),
    "TensorFloat-32": Bug("products of matrices are taken in TF32, with 10 bits", oracle=TensorFloat32),
    "transposed convolution shifted": Bug(
        "transposed convolutions are cropped one pixel off",
        edits=_shift(TransposedConvolution, "crop"),
        needs=_can_shift(TransposedConvolution, "crop"),
    ),
    "padding shifted": Bug(
        "convolutions are padded one pixel off",
        edits=_shift(Convolution, "padding"),
        needs=_can_shift(Convolution, "padding"),
    ),
    "borders repeated": Bug("convolutions repeat the border", oracle=OtherBorders, needs=is_convolutional),
    "borders reflected": Bug("convolutions reflect the border", oracle=ReflectedBorders, needs=is_convolutional),
    "mean pooling": Bug("pools take the mean", oracle=MeanPooling, needs=has_pools),
    "minimum pooling": Bug("pools take the least value", oracle=MinimumPooling, needs=has_pools),
    "biases left out": Bug("no bias is added", oracle=bias_off(0), needs=has_biases),
    "biases added twice": Bug("biases are added twice", oracle=bias_off(2), needs=has_biases),
    "biases of dense layers left out": Bug(
        "dense layers add no bias", oracle=bias_off(0, Dense), needs=lambda p: has_biases(p) and is_convolutional(p)
    ),
    "biases of convolutions left out": Bug(
        "convolutions add no bias", oracle=bias_off(0, Convolution), needs=is_convolutional
    ),
    "biases of transposed convolutions left out": Bug(
        "transposed convolutions add no bias", oracle=bias_off(0, TransposedConvolution), needs=is_convolutional
    ),
    "first code unit left out": Bug("the first code unit is never computed", oracle=unit_left_out("code", 0)),
    "second code unit left out": Bug("the second code unit is never computed", oracle=unit_left_out("code", 1)),
    "last code unit left out": Bug("the last code unit is never computed", oracle=unit_left_out("code", -1)),
    "first hidden unit left out": Bug(
        "the first hidden unit or filter is never computed",
        oracle=unit_left_out("hidden", 0),
        needs=has_hidden_layers,
    ),
    "last hidden unit left out": Bug(
        "the last hidden unit or filter is never computed",
        oracle=unit_left_out("hidden", -1),
        needs=has_hidden_layers,
    ),
}
