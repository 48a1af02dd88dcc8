"""Activations that ports take for the right ones: value, slope and curvature of each."""

import numpy as np

from core_torch.parity.bugs.bug import Bug, LayerEdit
from core_torch.parity.bugs.places import has_hidden_layers, output_is
from core_torch.parity.oracle.activations import CURVATURES, SLOPES, VALUES, Function, sigmoid, sigmoid_slope
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.spec.layers import Activation, Layer

LEAK = 0.01  # PyTorch's default
GELU = np.sqrt(2 / np.pi)


def _gelu_inner(z: np.ndarray) -> np.ndarray:
    return np.tanh(GELU * (z + 0.044715 * z**3)).astype(z.dtype)


def _gelu(z: np.ndarray) -> np.ndarray:
    return 0.5 * z * (1 + _gelu_inner(z))


def _gelu_slope(z: np.ndarray) -> np.ndarray:
    inner = _gelu_inner(z)
    return (0.5 * (1 + inner) + 0.5 * z * (1 - inner**2) * GELU * (1 + 3 * 0.044715 * z**2)).astype(z.dtype)


def _where_positive(z: np.ndarray, positive: np.ndarray | float, negative: np.ndarray | float) -> np.ndarray:
    return np.where(z > 0, positive, negative).astype(z.dtype)


def _between(low: float, high: float, z: np.ndarray) -> np.ndarray:
    return ((z > low) & (z < high)).astype(z.dtype)


def _elu(z: np.ndarray) -> np.ndarray:
    return _where_positive(z, z, np.expm1(np.minimum(z, 0)))


def _elu_slope(z: np.ndarray) -> np.ndarray:
    return _where_positive(z, 1, np.exp(np.minimum(z, 0)))


def _quick_gelu_slope(z: np.ndarray) -> np.ndarray:
    gate = sigmoid(1.702 * z)
    return gate + 1.702 * z * gate * (1 - gate)


# {name: (value, slope)}
WRONG: dict[str, tuple[Function, Function]] = {
    "leaky ReLU": (lambda z: _where_positive(z, z, LEAK * z), lambda z: _where_positive(z, 1, LEAK)),
    "ELU": (_elu, _elu_slope),
    "softplus": (lambda z: np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0), sigmoid),
    "GELU": (_gelu, _gelu_slope),
    "quick GELU": (lambda z: z * sigmoid(1.702 * z), _quick_gelu_slope),
    "softsign": (lambda z: z / (1 + np.abs(z)), lambda z: 1 / (1 + np.abs(z)) ** 2),
    "square of ReLU": (lambda z: np.maximum(z, 0) ** 2, lambda z: 2 * np.maximum(z, 0)),
    "absolute value": (np.abs, np.sign),
    "hard sigmoid": (lambda z: np.clip(z / 6 + 0.5, 0, 1), lambda z: _between(-3, 3, z) / 6),
    "identity clipped to [0, 1]": (lambda z: np.clip(z, 0, 1), lambda z: _between(0, 1, z)),
    "sigmoid of twice the sum": (lambda z: sigmoid(2 * z), lambda z: 2 * sigmoid_slope(2 * z)),
    "sigmoid taken twice": (lambda z: sigmoid(sigmoid(z)), lambda z: sigmoid_slope(sigmoid(z)) * sigmoid_slope(z)),
}
WRONG_CURVATURES: dict[str, Function] = {
    "ELU": lambda z: _where_positive(z, 0, np.exp(np.minimum(z, 0))),
    "softplus": sigmoid_slope,
    "square of ReLU": lambda z: _where_positive(z, 2, 0),
    "softsign": lambda z: -2 * np.sign(z) / (1 + np.abs(z)) ** 3,
}


class WrongActivations(Oracle):
    """Knows the wrong ones too."""

    values = VALUES | {name: value for name, (value, _) in WRONG.items()}
    slopes = SLOPES | {name: slope for name, (_, slope) in WRONG.items()}
    curvatures = CURVATURES | WRONG_CURVATURES


def replaced(place: str, kind: str) -> LayerEdit:
    """Replace the activation of the hidden layers, the code or the output."""

    def edit(name: str, layer: Layer, candidate: OracleCandidate) -> Layer:
        last = {"encoder": len(candidate.problem.architecture.encoder_layers()) - 1}
        last["decoder"] = len(candidate.problem.architecture.decoder_layers()) - 1
        part, index = name.split(".")
        ending = {"encoder": "code", "decoder": "output"}[part] if int(index) == last[part] else "hidden"
        return Activation(kind) if isinstance(layer, Activation) and ending == place else layer

    return edit


def _in_hidden_layers(kind: str) -> Bug:
    return Bug(
        f"the hidden activation is {kind}",
        edits=replaced("hidden", kind),
        oracle=WrongActivations,
        needs=has_hidden_layers,
    )


def _in_the_code(kind: str) -> Bug:
    return Bug(f"the code's activation is {kind}", edits=replaced("code", kind), oracle=WrongActivations)


def _at_the_output(kind: str) -> Bug:
    return Bug(
        f"the output's activation is {kind}, not the sigmoid",
        edits=replaced("output", kind),
        oracle=WrongActivations,
        needs=output_is("sigmoid"),
    )


HIDDEN = ("linear", "sigmoid", "tanh", "silu", "leaky ReLU", "ELU", "softplus", "GELU", "quick GELU", "softsign")
CODE = ("linear", "sigmoid", "tanh", "silu", "leaky ReLU", "ELU", "softplus", "square of ReLU", "absolute value")
OUTPUT = ("linear", "tanh", "relu", *list(WRONG)[-4:])
ACTIVATION_BUGS: dict[str, Bug] = {
    **{f"hidden activation {kind}": _in_hidden_layers(kind) for kind in HIDDEN},
    **{f"code activation {kind}": _in_the_code(kind) for kind in CODE},
    **{f"output activation {kind}": _at_the_output(kind) for kind in OUTPUT},
    "an output activation": Bug(
        "the output has a sigmoid", edits=replaced("output", "sigmoid"), needs=output_is("linear")
    ),
    "a ReLU at the output": Bug("the output has a ReLU", edits=replaced("output", "relu"), needs=output_is("linear")),
    "all activations linear": Bug(
        "the hidden layers and the code have no activation",
        edits=lambda name, layer, candidate: replaced("code", "linear")(
            name, replaced("hidden", "linear")(name, layer, candidate), candidate
        ),
        needs=has_hidden_layers,
    ),
}
