"""Bugs at the edges of activations and pools, and in what happens outside training."""

import numpy as np

from core_torch.parity.bugs.activations import replaced
from core_torch.parity.bugs.bug import Bug, BuggyCandidate, LayerEdit
from core_torch.parity.bugs.places import has_pools, output_is
from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.activations import SLOPES, VALUES, sigmoid, sigmoid_slope
from core_torch.parity.oracle.convolution import max_pooling_gradient
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.problem import Problem
from core_torch.spec.layers import Activation, Layer, MaxPooling

SHIFT, CLIP = 1e-7, 1e-7  # against a logarithm or a division of zero
SHIFTED, CLIPPED = "shifted ReLU", "clipped sigmoid"


def _slope_at_zero(slope: float, z: np.ndarray) -> np.ndarray:
    return np.where(z == 0, slope, z > 0).astype(z.dtype)


def _is_inside(z: np.ndarray) -> np.ndarray:
    return ((sigmoid(z) > CLIP) & (sigmoid(z) < 1 - CLIP)).astype(z.dtype)


class Edged(Oracle):
    """Knows activations that are wrong at an edge alone."""

    values = VALUES | {
        "ReLU6": lambda z: np.clip(z, 0, 6),
        "slope 1": VALUES["relu"],
        "slope 0.5": VALUES["relu"],
        SHIFTED: lambda z: np.maximum(z + z.dtype.type(SHIFT), 0),
        CLIPPED: lambda z: np.clip(sigmoid(z), CLIP, 1 - CLIP).astype(z.dtype),
    }
    slopes = SLOPES | {
        "ReLU6": lambda z: ((z > 0) & (z < 6)).astype(z.dtype),
        "slope 1": lambda z: _slope_at_zero(1.0, z),
        "slope 0.5": lambda z: _slope_at_zero(0.5, z),
        SHIFTED: lambda z: (z + z.dtype.type(SHIFT) > 0).astype(z.dtype),
        CLIPPED: lambda z: sigmoid_slope(z) * _is_inside(z),
    }


class LastMaximum(Oracle):
    """Send a pool's gradient to the last of equal values."""

    def backward(self, name: str, layer: Layer, x: np.ndarray, upstream: np.ndarray) -> tuple[np.ndarray, Arrays]:
        """Look for the maximum from the other end."""
        if not isinstance(layer, MaxPooling):
            return super().backward(name, layer, x, upstream)
        height, width = (upstream.shape[axis] * layer.size for axis in (2, 3))
        down = np.zeros_like(x)
        turned = max_pooling_gradient(x[..., :height, :width][..., ::-1, ::-1], upstream[..., ::-1, ::-1], layer.size)
        down[..., :height, :width] = turned[..., ::-1, ::-1]
        return down, {}


def _for_relu(kind: str) -> LayerEdit:
    return lambda name, layer, candidate: (
        Activation(kind) if isinstance(layer, Activation) and layer.name == "relu" else layer
    )


class StaleOutputs(BuggyCandidate):
    """Compute outputs by the weights that were loaded."""

    def load(self, weights: Arrays) -> None:
        """Keep a copy for outputs."""
        super().load(weights)
        self.loaded = dict(self.oracle.weights)

    def activations(self, inputs: np.ndarray) -> Arrays:
        """Compute by the copy."""
        now, self.oracle.weights = self.oracle.weights, self.loaded
        found = super().activations(inputs)
        self.oracle.weights = now
        return found


class FirstOutputs(BuggyCandidate):
    """Keep the outputs of the first batch for every other of that size or less."""

    kept: "np.ndarray | None" = None

    def load(self, weights: Arrays) -> None:
        """Forget them."""
        super().load(weights)
        self.kept = None

    def activations(self, inputs: np.ndarray) -> Arrays:
        """Return the kept ones where they are enough."""
        found = super().activations(inputs)
        if self.kept is None:
            self.kept = found["output"]
        return found | {"output": np.resize(self.kept, found["output"].shape)}


class LargeBatchCut(BuggyCandidate):
    """Compute no more images than the largest batch of training has."""

    def activations(self, inputs: np.ndarray) -> Arrays:
        """Leave the others black."""
        largest = max(len(rows) for rows in self.problem.batches)
        found = super().activations(inputs)
        output = found["output"].copy()
        output[largest:] = 0
        return found | {"output": output}


class SingleImageFlat(BuggyCandidate):
    """Drop the dimension of a batch of one."""

    def activations(self, inputs: np.ndarray) -> Arrays:
        """Return a vector for one image."""
        found = super().activations(inputs)
        return found | {"output": found["output"].squeeze()}


class BatchCentred(BuggyCandidate):
    """Subtract the mean over the batch from outputs, and add that of the first batch."""

    centre: "np.ndarray | None" = None

    def activations(self, inputs: np.ndarray) -> Arrays:
        """Centre them by the batch."""
        found = super().activations(inputs)
        mean = found["output"].mean(axis=0)
        self.centre = mean if self.centre is None else self.centre
        return found | {"output": found["output"] - mean + self.centre}


class NoiseOutsideTraining(BuggyCandidate):
    """Drop pixels when outputs are asked for after training."""

    def activations(self, inputs: np.ndarray) -> Arrays:
        """Drop every fifth once a step was taken."""
        found = super().activations(inputs)
        if not self.optimizer.steps:
            return found
        kept = inputs.copy()
        kept[:, ::5] = 0
        return super().activations(kept) | {"input": found["input"]}


def _has_relu(problem: Problem) -> bool:
    return "relu" in (problem.architecture.hidden_activation, problem.architecture.code_activation)


EDGE_BUGS: dict[str, Bug] = {
    "ReLU6": Bug("ReLU stops at 6", edits=_for_relu("ReLU6"), oracle=Edged, needs=_has_relu),
    "slope of ReLU at 0": Bug("ReLU's slope at 0 is 1", edits=_for_relu("slope 1"), oracle=Edged, needs=_has_relu),
    "half slope of ReLU at 0": Bug(
        "ReLU's slope at 0 is a half", edits=_for_relu("slope 0.5"), oracle=Edged, needs=_has_relu
    ),
    "shifted ReLU": Bug("1e-7 is added before ReLU", edits=_for_relu(SHIFTED), oracle=Edged, needs=_has_relu),
    "clipped sigmoid": Bug(
        "the output's sigmoid is clipped to [1e-7, 1 - 1e-7]",
        edits=replaced("output", CLIPPED),
        oracle=Edged,
        needs=output_is("sigmoid"),
    ),
    "last maximum": Bug("a pool's gradient goes to the last of equal values", oracle=LastMaximum, needs=has_pools),
}
EVALUATION_BUGS: dict[str, Bug] = {
    "outputs by stale weights": Bug("outputs are computed by the weights that were loaded", port=StaleOutputs),
    "outputs of the first batch": Bug("outputs of the first batch are kept for all others", port=FirstOutputs),
    "large batch cut": Bug("images beyond the largest batch of training get no output", port=LargeBatchCut),
    "single image flat": Bug("the output of a single image has no dimension of the batch", port=SingleImageFlat),
    "outputs centred": Bug("outputs are centred over their batch", port=BatchCentred),
    "dropout after training": Bug("pixels are dropped when outputs are asked for", port=NoiseOutsideTraining),
}
