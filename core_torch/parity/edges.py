"""Probes at the edges of activations and pools: exact zeros, exact ties, values near 0, beyond 6, and a sigmoid's tail.

Each has weights of its own, made so that every right algorithm, FFT and Winograd too, meets the edge exactly: a unit
whose weights are all 0 gives its bias, whatever adds up the zeros.
"""

import numpy as np

from core_torch.parity.candidate import Arrays
from core_torch.parity.kinks import distance_to_kinks
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.problem import Probe, Problem
from core_torch.spec.architecture import Architecture
from core_torch.spec.layers import Activation, Convolution, Dense, TransposedConvolution

IMAGES = 6  # of a probe, chosen among those of the problem
CANDIDATES = 96
NEAR_ZERO = 5e-8  # root mean square of a unit's input; ReLU(x + 1e-7) is another function there
BEYOND_SIX = 12.0  # likewise; ReLU6 is
TAIL = -25.0  # logits, where a sigmoid is 1e-11; one that is clipped at 1e-7 is not
MODES = ("zero", "near zero", "beyond six", "flat")  # of a unit, in turn; flat: its bias alone, which ties its pool


def edge_probes(problem: Problem) -> tuple[Probe, ...]:
    """Make a probe for each shift of the modes over the units, and one of the tail; none where nothing has an edge."""
    architecture, images = problem.architecture, problem.inputs[:CANDIDATES]
    probes = []
    if _has(architecture, "relu"):
        for shift in range(len(MODES)):
            weights = _edged(architecture, problem.weights, images, shift=shift)
            margins = distance_to_kinks(Oracle(architecture, weights), images, of_each_unit=True)
            rows = np.sort(np.argsort(-margins, kind="stable")[:IMAGES])
            probes.append(Probe(f"edge {shift + 1}", weights, problem.inputs[rows], problem.targets[rows]))
    last = f"decoder.{_last_weighted(architecture)}"
    own = {f"{last}.weight", f"{last}.bias"} <= problem.weights.keys()  # a tied decoder has the encoder's weight
    if architecture.output_activation == "sigmoid" and own:
        weights = dict(problem.weights)
        weights[f"{last}.bias"] = np.full_like(weights[f"{last}.bias"], TAIL)
        weights[f"{last}.weight"] = weights[f"{last}.weight"] * np.float32(0.01)
        probes.append(Probe("tail", weights, images[:IMAGES], problem.targets[:IMAGES], outputs_only=True))
    return tuple(probes)


def _edged(architecture: Architecture, weights: Arrays, images: np.ndarray, *, shift: int) -> Arrays:
    """Give each unit before a ReLU its mode, layer by layer, as the layers before it are by then."""
    edged = dict(weights)
    layers = Oracle(architecture, weights).layers
    for (name, layer), (_, after) in zip(layers, layers[1:]):
        is_weighted = isinstance(layer, Dense | Convolution | TransposedConvolution)
        if not (is_weighted and isinstance(after, Activation) and after.name == "relu" and f"{name}.weight" in edged):
            continue
        sums = Oracle(architecture, edged).activations(images)[name]
        size = np.sqrt(np.mean(sums**2, axis=tuple(axis for axis in range(sums.ndim) if axis != 1)))
        axis = 1 if isinstance(layer, TransposedConvolution) else 0
        for unit in range(sums.shape[1]):
            _set_mode(edged, name, unit, axis=axis, mode=MODES[(unit + shift) % len(MODES)], size=float(size[unit]))
    return edged


def _set_mode(weights: Arrays, name: str, unit: int, *, axis: int, mode: str, size: float) -> None:
    factor = {"near zero": NEAR_ZERO / (size or 1), "beyond six": BEYOND_SIX / (size or 1)}.get(mode, 0.0)
    weight = np.moveaxis(weights[f"{name}.weight"].copy(), axis, 0)
    weight[unit] *= np.float32(factor)
    weights[f"{name}.weight"] = np.ascontiguousarray(np.moveaxis(weight, 0, axis))
    if f"{name}.bias" in weights:
        bias = weights[f"{name}.bias"].copy()
        bias[unit] = 1 if mode == "flat" else bias[unit] * np.float32(factor)
        weights[f"{name}.bias"] = bias


def _has(architecture: Architecture, kind: str) -> bool:
    return kind in (architecture.hidden_activation, architecture.code_activation)


def _last_weighted(architecture: Architecture) -> int:
    layers = architecture.decoder_layers()
    return max(i for i, layer in enumerate(layers) if isinstance(layer, Dense | TransposedConvolution))
