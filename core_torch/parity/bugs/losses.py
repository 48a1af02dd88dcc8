"""Bugs in the loss: how it is averaged, what is compared, and the contractive penalty."""

from collections.abc import Callable

import numpy as np

from core_torch.parity.bugs.bug import Bug
from core_torch.parity.bugs.layers import BatchSizeBroadcast
from core_torch.parity.bugs.places import aims_at, all_of, is_dense, output_is
from core_torch.parity.candidate import Arrays
from core_torch.parity.oracle.jacobian import contractive_penalty
from core_torch.parity.oracle.optimizer import OracleOptimizer
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.layers import Layer

Layers = list[tuple[str, Layer]]
Error = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


def measured_by(error: Error) -> type[Oracle]:
    """Make an oracle with another error of (output, targets): its value, and its gradient at the output."""

    def own_error(self: Oracle, output: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        value, upstream = error(output, targets)
        return float(value), upstream.astype(self.dtype)

    return type("OtherError", (Oracle,), {"error": own_error})


def _absolute(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    return float(np.mean(np.abs(y - t))), np.sign(y - t) / y.size


def _root(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    value = np.sqrt(np.mean((y - t) ** 2))
    return float(value), (y - t) / (y.size * value)


def _root_per_image(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    roots = np.sqrt(np.mean((y - t) ** 2, axis=1, keepdims=True))
    return float(np.mean(roots)), (y - t) / (y.size * roots)


def _huber(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    far = 0.1
    error, size = y - t, np.abs(y - t)
    value = np.mean(np.where(size <= far, error**2, far * (2 * size - far)))
    return float(value), 2 * np.clip(error, -far, far) / y.size


def _cross_entropy(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    y = np.clip(y, 1e-7, 1 - 1e-7)
    return float(-np.mean(t * np.log(y) + (1 - t) * np.log(1 - y))), (y - t) / (y * (1 - y)) / y.size


def _worst_pixel_ignored(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    error = (y - t).copy()
    error[:, -1] = 0
    return float(np.mean(error**2)), 2 * error / error.size


def _last_image_ignored(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    error = (y - t).copy()
    error[-1] = 0
    return float(np.mean(error**2)), 2 * error / error.size


def _shifted(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    error = y - np.roll(t, 1, axis=0)
    return float(np.mean(error**2)), 2 * error / error.size


LOSS_BUGS: dict[str, Bug] = {
    "sum over pixels": Bug("the loss is summed over pixels", rescales=lambda x: x.shape[1]),
    "sum over the batch": Bug("the loss is summed over the batch", rescales=lambda x: x.shape[0]),
    "sum over everything": Bug("the loss is summed over pixels and batch", rescales=lambda x: x.size),
    "half squared error": Bug("the loss is half the squared error", rescales=lambda x: 0.5),
    "loss doubled": Bug("the loss counts twice", rescales=lambda x: 2),
    "mean over one image fewer": Bug(
        "the mean over the batch divides by one image fewer", rescales=lambda x: len(x) / max(1, len(x) - 1)
    ),
    "loss scaled by a thousandth more": Bug("the loss is a thousandth too large", rescales=lambda x: 1.001),
    "shapes broadcast": Bug("every output is compared with every target of the batch", oracle=BatchSizeBroadcast),
    "absolute error": Bug("the loss is the absolute error", oracle=measured_by(_absolute)),
    "root of the error": Bug("the loss is the root of the mean squared error", oracle=measured_by(_root)),
    "root for each image": Bug("the loss is the mean of each image's root", oracle=measured_by(_root_per_image)),
    "Huber's error": Bug("the loss is Huber's, linear beyond 0.1", oracle=measured_by(_huber)),
    "cross entropy": Bug(
        "the loss is the binary cross entropy", oracle=measured_by(_cross_entropy), needs=output_is("sigmoid")
    ),
    "last pixel not compared": Bug("the last pixel is not compared", oracle=measured_by(_worst_pixel_ignored)),
    "last image not compared": Bug("the last image is not compared", oracle=measured_by(_last_image_ignored)),
    "targets of other images": Bug("each image is compared with another's target", oracle=measured_by(_shifted)),
    "noisy targets": Bug("the error is taken to the noisy image", targets=lambda x, t: x, needs=aims_at("denoising")),
    "noise forgotten": Bug("training is given clean images", inputs=lambda x, t: t, needs=aims_at("denoising")),
}


class PenaltyNotSquared(OracleOptimizer):
    """Take the root of the mean squared norm."""

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Return d sqrt(p) = dp / (2 sqrt(p))."""
        error, plain = self.oracle.gradients(inputs, targets)
        both, whole = self.oracle.gradients(inputs, targets, contraction=self.contraction)
        root = np.sqrt((both - error) / self.contraction)
        share = 1 / (2 * root)
        loss = error + self.contraction * root
        return float(loss), {
            name: (plain[name] + share * (whole[name] - plain[name])).astype(self.oracle.dtype) for name in plain
        }


class PenaltyWithoutGradient(OracleOptimizer):
    """Count the penalty, and train without it."""

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Return the loss with, the gradients without."""
        loss = self.oracle.loss(inputs, targets, contraction=self.contraction)
        return loss, self.oracle.gradients(inputs, targets)[1]


class PenaltyOfWeights(OracleOptimizer):
    """Take the squared norm of the encoder's weights for that of its Jacobian."""

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Return them with that penalty."""
        loss, gradients = self.oracle.gradients(inputs, targets)
        scale = self.oracle.dtype(2 * self.contraction)
        for name, weight in self.oracle.weights.items():
            if name.startswith("encoder") and name.endswith("weight"):
                loss += self.contraction * float(np.sum(weight**2))
                gradients[name] = gradients[name] + scale * weight
        return loss, gradients


def penalty_times(factor: Callable[[Oracle, int], float]) -> type[OracleOptimizer]:
    """Make an optimizer whose penalty is multiplied by a function of the oracle and the batch size."""

    def gradients(self: OracleOptimizer, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        weight = self.contraction * factor(self.oracle, len(inputs))
        return self.oracle.gradients(inputs, targets, contraction=weight)

    return type("PenaltyScaled", (OracleOptimizer,), {"gradients": gradients})


def penalty_of(layers: Callable[[Oracle], Layers]) -> type[Oracle]:
    """Make an oracle that penalizes the Jacobian of other layers than the encoder's."""

    def penalty(self: Oracle, record: Arrays, *, weight: float, gradients: Arrays | None = None) -> float:
        return contractive_penalty(self, record, weight=weight, gradients=gradients, layers=layers(self))

    return type("OtherPenalty", (Oracle,), {"penalty": penalty})


def _encoder(oracle: Oracle) -> Layers:
    return oracle.layers[: len(oracle.architecture.encoder_layers())]


CONTRACTIVE = aims_at("contractive")
PENALTY_BUGS: dict[str, Bug] = {
    "penalty forgotten": Bug("the contractive penalty is left out", recipe={"contraction": 0.0}, needs=CONTRACTIVE),
    "penalty doubled": Bug(
        "the contractive penalty counts twice", optimizer=penalty_times(lambda o, n: 2), needs=CONTRACTIVE
    ),
    "penalty halved": Bug(
        "the contractive penalty counts half", optimizer=penalty_times(lambda o, n: 0.5), needs=CONTRACTIVE
    ),
    "penalty summed over the batch": Bug(
        "the penalty is summed over the batch", optimizer=penalty_times(lambda o, n: n), needs=CONTRACTIVE
    ),
    "penalty averaged over the code": Bug(
        "the penalty is averaged over code units",
        optimizer=penalty_times(lambda o, n: 1 / o.architecture.code_width),
        needs=CONTRACTIVE,
    ),
    "penalty not squared": Bug(
        "the penalty is the norm, not its square", optimizer=PenaltyNotSquared, needs=CONTRACTIVE
    ),
    "penalty without gradient": Bug(
        "the penalty is counted, and no gradient comes from it", optimizer=PenaltyWithoutGradient, needs=CONTRACTIVE
    ),
    "penalty of the weights": Bug(
        "the penalty is the encoder's squared weights", optimizer=PenaltyOfWeights, needs=CONTRACTIVE
    ),
    "penalty of the whole model": Bug(
        "the penalty is of the whole model, decoder and all",
        oracle=penalty_of(lambda oracle: oracle.layers),
        needs=all_of(CONTRACTIVE, is_dense),
    ),
    "penalty before the code's activation": Bug(
        "the penalty is of the code before its activation",
        oracle=penalty_of(lambda oracle: _encoder(oracle)[:-1]),
        needs=CONTRACTIVE,
    ),
    "penalty of the first layer": Bug(
        "the penalty is of the first layer alone",
        oracle=penalty_of(lambda oracle: oracle.layers[:2]),
        needs=all_of(CONTRACTIVE, is_dense, lambda problem: len(problem.architecture.encoder_layers()) > 2),
    ),
}
