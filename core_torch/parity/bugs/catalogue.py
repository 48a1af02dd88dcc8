"""Bugs that ports have, each as a candidate that computes in NumPy what such a port would.

They serve twice. The judge has to reject every one of them, which is how its power is known; and when it rejects
somebody's port, each is tried: the one that computes the same wrong numbers is the diagnosis.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from core_torch.parity.bugs import optimizers as optimizers
from core_torch.parity.bugs.layers import (
    BatchSizeBroadcast,
    HalfPrecision,
    MeanPooling,
    OutputSlopeForgotten,
    TensorFloat32,
    flatten_order,
    kernel_flipped,
    kernel_rows_and_columns_swapped,
    shifted,
    transposed_if_square,
)
from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.parity.problem import Problem
from core_torch.spec.architecture import Convolutional
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.layers import Activation, Convolution, Layer, TransposedConvolution

LayerEdit = Callable[[str, Layer, OracleCandidate], Layer]
Relayout = Callable[[str, np.ndarray, Problem], np.ndarray]


@dataclass(frozen=True)
class Bug:
    """What is wrong, in words and as the places where it differs from the oracle."""

    says: str
    fed: Callable[[np.ndarray], np.ndarray] | None = None  # what reaches the model
    reads: tuple[Relayout, Relayout] | None = None  # how weights are mistaken on the way in, and undone on the way out
    hands_out: Callable[[Arrays], Arrays] | None = None  # the weights
    edits: LayerEdit | None = None
    rescales: Callable[[np.ndarray], float] | None = None  # loss and gradients, by a factor made from the inputs
    spoils: Callable[[str, np.ndarray], np.ndarray] | None = None  # one gradient
    oracle: type[Oracle] = Oracle
    optimizer: type[OracleOptimizer] = OracleOptimizer
    recipe: dict[str, Any] = field(default_factory=dict)  # numbers it has wrong
    targets: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None  # from (inputs, targets)
    needs: Callable[[Problem], bool] = lambda problem: True  # where it can exist

    def candidate(self, problem: Problem, *, dtype: str = "float32") -> "BuggyCandidate":
        """A port with this bug."""
        return BuggyCandidate(self, problem, dtype=dtype)


class BuggyCandidate(OracleCandidate):
    """See `Bug`; without one, a right port."""

    def __init__(self, bug: Bug, problem: Problem, *, dtype: str) -> None:
        self.bug, self.oracle_class, self.optimizer_class = bug, bug.oracle, bug.optimizer
        super().__init__(replace(problem, recipe=problem.recipe.with_changes(**bug.recipe)), dtype=dtype)

    def load(self, weights: Arrays) -> None:
        """With the layers and weights that the bug mistakes."""
        super().load(self._through(weights, 0))
        if self.bug.edits:
            self.oracle.layers = [(name, self.bug.edits(name, layer, self)) for name, layer in self.oracle.layers]

    def weights(self) -> Arrays:
        """As the bug hands them out."""
        weights = self._through(super().weights(), 1)
        return self.bug.hands_out(weights) if self.bug.hands_out else weights

    def activations(self, inputs: np.ndarray) -> Arrays:
        """Of what is fed."""
        return super().activations(self._fed(inputs))

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """As the bug spoils them."""
        loss, gradients = self._spoilt(inputs, targets)
        return loss, self._through(gradients, 1)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """With the gradients as the bug spoils them."""
        loss, gradients = self._spoilt(inputs, targets)
        self.optimizer.batch = len(inputs)  # type: ignore[attr-defined]
        self.optimizer.apply(gradients)
        return loss

    def optimizer_state(self) -> Arrays:
        """Nothing: what the updates show is enough."""
        return {}

    def _spoilt(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        wanted = self.bug.targets(inputs, targets) if self.bug.targets else targets
        loss, gradients = super().loss_and_gradients(self._fed(inputs), wanted)
        factor = self.dtype(self.bug.rescales(inputs)) if self.bug.rescales else self.dtype(1)
        spoils = self.bug.spoils or (lambda name, gradient: gradient)
        return float(factor * loss), {name: spoils(name, factor * value) for name, value in gradients.items()}

    def _fed(self, inputs: np.ndarray) -> np.ndarray:
        return self.bug.fed(inputs).astype(inputs.dtype) if self.bug.fed else inputs

    def _through(self, arrays: Arrays, way: int) -> Arrays:
        if self.bug.reads is None:
            return arrays
        return {name: self.bug.reads[way](name, value, self.problem) for name, value in arrays.items()}


def is_convolutional(problem: Problem) -> bool:
    """Whether there are kernels."""
    return isinstance(problem.architecture, Convolutional)


def has_biases(problem: Problem) -> bool:
    """The randomized models have none."""
    return any(name.endswith("bias") for name in problem.weights)


def has_square_weight(problem: Problem) -> bool:
    """Whose transposition no shape betrays."""
    return any(value.ndim == 2 and value.shape[0] == value.shape[1] for value in problem.weights.values())


def trains_by(*optimizers_: str) -> Callable[[Problem], bool]:
    """Whether the recipe's optimizer is one of these."""
    return lambda problem: problem.recipe.optimizer in optimizers_


def has_momentum(problem: Problem) -> bool:
    """Whether there is any to get wrong."""
    return problem.recipe.momentum > 0 and not problem.recipe.nesterov


def aims_at(objective: str) -> Callable[[Problem], bool]:
    """Whether that is what the recipe trains for."""
    return lambda problem: problem.recipe.objective == objective


def _output_is(kind: str) -> Callable[[Problem], bool]:
    return lambda problem: problem.architecture.output_activation == kind


def _activation(place: str, kind: str) -> LayerEdit:
    """Replace the activation of the hidden layers, the code or the output."""

    def edit(name: str, layer: Layer, candidate: OracleCandidate) -> Layer:
        last = {"encoder": len(candidate.problem.architecture.encoder_layers()) - 1}
        last["decoder"] = len(candidate.problem.architecture.decoder_layers()) - 1
        part, index = name.split(".")
        ending = {"encoder": "code", "decoder": "output"}[part] if int(index) == last[part] else "hidden"
        return Activation(kind) if isinstance(layer, Activation) and ending == place else layer

    return edit


def _shift(kind: type[Layer], field_name: str) -> LayerEdit:
    return lambda name, layer, _: shifted(layer, field_name) if isinstance(layer, kind) else layer


def _rows_and_columns(images: np.ndarray) -> np.ndarray:
    side = int(round(images.shape[1] ** 0.5))
    return images.reshape(-1, side, side).transpose(0, 2, 1).reshape(images.shape)


def _only(part: str) -> Callable[[str, np.ndarray], np.ndarray]:
    """Gradients of names with that part become zero."""
    return lambda name, gradient: gradient * (part not in name)


BUGS: dict[str, Bug] = {
    # Shapes
    "a parameter is missing": Bug("the last parameter is not handed out", hands_out=lambda w: dict([*w.items()][:-1])),
    "an extra tensor": Bug("a counter is handed out as a parameter", hands_out=lambda w: w | {"step": np.zeros(1)}),
    "weights handed out transposed": Bug(
        "weights are handed out as (inputs, outputs)", hands_out=lambda w: {k: v.T for k, v in w.items()}
    ),
    "weights not loaded": Bug(
        "the model keeps weights of its own",
        reads=(
            lambda name, value, problem: initial_weights(problem.architecture, seed=99)[name],
            lambda name, value, problem: value,
        ),
    ),
    # Inputs
    "pixels times 1/255": Bug(
        "pixels are multiplied by 1/255 where the contract divides by 255",
        fed=lambda x: np.rint(x * 255).astype(np.float32) * np.float32(1 / 255),
    ),
    "pixels divided by 256": Bug("pixels are divided by 256", fed=lambda x: x * (255 / 256)),
    "pixels normalised": Bug("pixels are normalised to [-1, 1]", fed=lambda x: 2 * x - 1),
    "rows and columns swapped": Bug("images are read column by column", fed=_rows_and_columns),
    # Outputs
    "half precision": Bug("layers compute in float16", oracle=HalfPrecision),
    "TensorFloat-32": Bug("products of matrices are taken in TF32, with 10 bits", oracle=TensorFloat32),
    "hidden activation": Bug(
        "the hidden activation is SiLU", edits=_activation("hidden", "silu"), needs=lambda p: hidden_layers(p) > 0
    ),
    "code activation": Bug("the code is linear", edits=_activation("code", "linear")),
    "no output activation": Bug(
        "the output has no sigmoid", edits=_activation("output", "linear"), needs=_output_is("sigmoid")
    ),
    "an output activation": Bug(
        "the output has a sigmoid", edits=_activation("output", "sigmoid"), needs=_output_is("linear")
    ),
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
    "kernels transposed": Bug(
        "rows and columns of kernels are swapped", reads=(kernel_rows_and_columns_swapped,) * 2, needs=is_convolutional
    ),
    "transposed convolution shifted": Bug(
        "transposed convolutions are cropped one pixel off",
        edits=_shift(TransposedConvolution, "crop"),
        needs=is_convolutional,
    ),
    "padding shifted": Bug(
        "convolutions are padded one pixel off", edits=_shift(Convolution, "padding"), needs=is_convolutional
    ),
    "mean pooling": Bug("pools take the mean", oracle=MeanPooling, needs=is_convolutional),
    # Loss
    "sum over pixels": Bug("the loss is summed over pixels", rescales=lambda x: x.shape[1]),
    "sum over the batch": Bug("the loss is summed over the batch", rescales=lambda x: x.shape[0]),
    "half squared error": Bug("the loss is half the squared error", rescales=lambda x: 0.5),
    "shapes broadcast": Bug("every output is compared with every target of the batch", oracle=BatchSizeBroadcast),
    "penalty forgotten": Bug(
        "the contractive penalty is left out", recipe={"contraction": 0.0}, needs=aims_at("contractive")
    ),
    "penalty doubled": Bug(
        "the contractive penalty counts twice", optimizer=optimizers.PenaltyDoubled, needs=aims_at("contractive")
    ),
    "penalty not squared": Bug(
        "the penalty is the norm, not its square", optimizer=optimizers.PenaltyNotSquared, needs=aims_at("contractive")
    ),
    "noisy targets": Bug("the error is taken to the noisy image", targets=lambda x, t: x, needs=aims_at("denoising")),
    # Gradients
    "encoder frozen": Bug("no gradient reaches the encoder", spoils=_only("encoder")),
    "first layer frozen": Bug("no gradient reaches the first layer", spoils=_only("encoder.0")),
    "gradients clipped": Bug("gradients are clipped at 0.0001", spoils=lambda n, g: np.clip(g, -1e-4, 1e-4)),
    "gradients in half precision": Bug(
        "gradients pass through float16", spoils=lambda n, g: g.astype(np.float16).astype(g.dtype)
    ),
    "output slope forgotten": Bug(
        "the gradient does not pass the output's sigmoid", oracle=OutputSlopeForgotten, needs=_output_is("sigmoid")
    ),
    "bias gradients averaged": Bug(
        "gradients of biases are averaged, not summed",
        spoils=lambda n, g: g / max(2, g.size) if n.endswith("bias") else g,
        needs=has_biases,
    ),
    # One update
    "rate doubled": Bug("the learning rate is twice the recipe's", optimizer=optimizers.rate_off(2.0)),
    "rate off by half a percent": Bug("the learning rate is half a percent off", optimizer=optimizers.rate_off(1.005)),
    "decay in the gradient": Bug(
        "weights decay by way of the gradient", optimizer=optimizers.DecayInGradient, needs=trains_by("sgd", "adam")
    ),
    "decoupled decay in the gradient": Bug(
        "weight decay is added to the gradient", optimizer=optimizers.DecayCoupled, needs=trains_by("adamw")
    ),
    "Nesterov": Bug("momentum is Nesterov's", recipe={"nesterov": True}, needs=has_momentum),
    "Adam for SGD": Bug(
        "the optimizer is Adam",
        recipe={"optimizer": "adam", "momentum": 0.0, "nesterov": False},
        needs=trains_by("sgd"),
    ),
    "biases not optimized": Bug(
        "the optimizer does not know the biases", optimizer=optimizers.leaving("bias"), needs=has_biases
    ),
    "decoder not optimized": Bug("the optimizer does not know the decoder", optimizer=optimizers.leaving("decoder")),
    "weights stale": Bug("weights are handed out as before the step", optimizer=optimizers.Stale),
    "momentum dampened": Bug(
        "gradients enter the velocity by 1 - momentum", optimizer=optimizers.Dampened, needs=has_momentum
    ),
    "no bias correction": Bug(
        "Adam's moments are not corrected for their start", optimizer=optimizers.Uncorrected, needs=trains_by("adam")
    ),
    # Trajectory
    "epsilon before the correction": Bug(
        "Adam's epsilon is added before the bias correction, as in Keras",
        optimizer=optimizers.EpsilonBeforeCorrection,
        needs=trains_by("adam", "adamw"),
    ),
    "epsilon of 1e-7": Bug(
        "Adam's epsilon is 1e-7, Keras's default", recipe={"epsilon": 1e-7}, needs=trains_by("adam", "adamw")
    ),
    "momentum after the rate": Bug(
        "the learning rate is inside the velocity, as in Keras, and outlives its change",
        optimizer=optimizers.RateInVelocity,
        needs=has_momentum,
    ),
    "momentum forgotten": Bug("there is no momentum", recipe={"momentum": 0.0}, needs=has_momentum),
    "momentum off by a thousandth": Bug(
        "momentum is a thousandth off", optimizer=optimizers.MomentumOff, needs=has_momentum
    ),
    "gradients accumulate": Bug("gradients are never set back to zero", optimizer=optimizers.Accumulating),
    "rate never changes": Bug("the change of the learning rate is missed", optimizer=optimizers.RateNeverChanges),
    "rate decays": Bug("the learning rate decays by 1 % a step", optimizer=optimizers.rate_off(decay=0.99)),
    "short batch dropped": Bug("the last, short batch is dropped", optimizer=optimizers.ShortBatchDropped),
    "short batch weighed as full": Bug(
        "the error is divided by the full batch size", optimizer=optimizers.ShortBatchWeighedAsFull
    ),
}


def hidden_layers(problem: Problem) -> int:
    """Activations that are neither the code's nor the output's."""
    layers = [*problem.architecture.encoder_layers(), *problem.architecture.decoder_layers()]
    return sum(isinstance(layer, Activation) for layer in layers) - 2
