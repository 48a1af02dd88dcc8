"""Ports that are wrong in one way each, and the first level of the agreement check that rejects them.

Every port here is NumPy in float32: what a port gets wrong is arithmetic, in whatever framework.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from benchmarks.agreement import BATCH_SIZE, Check, Judge, OracleTrial, Problem, agree, build_problem
from benchmarks.cases import RECIPE
from benchmarks.epoch_agreement import rows
from benchmarks.tolerances import LEVELS
from benchmarks.trial import Arrays
from core_torch.contract.architecture import ARCHITECTURES, PIXELS, FullyConnected
from core_torch.contract.initial_weights import initial_weights
from core_torch.contract.layers import Dense, Layer
from core_torch.contract.oracle import Oracle
from core_torch.contract.pixels import IMAGE_SIDE, load_split

# Of every fourth pixel, for the tests that need many problems.
SLIM = {
    "slim shallow": FullyConnected(widths=(PIXELS // 4, 32)),
    "slim deep": FullyConnected(widths=(PIXELS // 4, 64, 16)),
}
PROBLEMS = [(model, trained) for model in ("shallow", "deep") for trained in (False, True)]


@cache
def images_of(pixels: int) -> np.ndarray:
    return np.ascontiguousarray(rows(load_split("digits"))[:, :: PIXELS // pixels])


@cache
def judge_of(model: str, trained: bool, seed: int = 0) -> Judge:
    architecture = (ARCHITECTURES | SLIM)[model]
    images = images_of(*architecture.input_shape)
    recipe = replace(RECIPE, seed=seed)
    return Judge(build_problem(model, architecture, images, recipe=recipe, trained=trained))


class Port(OracleTrial):
    """A right port, cut into the pieces that the ports below get wrong."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem, dtype=np.float32)

    def fed(self, inputs: np.ndarray) -> np.ndarray:
        """What reaches the model."""
        return inputs

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return super().predict(self.fed(inputs))

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        return super().loss_and_gradients(self.fed(inputs), targets)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        loss, gradients = self.loss_and_gradients(inputs, targets)
        for name, gradient in gradients.items():
            self.descend(name, gradient)
        return loss

    def descend(self, name: str, gradient: np.ndarray) -> None:
        """Update one parameter."""
        self.move(name, self.accelerate(name, gradient))

    def accelerate(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """The new velocity of one parameter."""
        velocity = np.float32(self.recipe.momentum) * self.oracle.velocity[name] + gradient
        self.oracle.velocity[name] = velocity
        return velocity

    def move(self, name: str, direction: np.ndarray) -> None:
        weights = self.oracle.weights
        weights[name] = weights[name] - np.float32(self.recipe.learning_rate) * direction


# ---- Shapes -----------------------------------------------------------------------------------------------


class BiasMissing(Port):
    def weights(self) -> Arrays:
        return {name: array for name, array in super().weights().items() if name != "decoder.0.bias"}


class ExtraTensor(Port):
    def weights(self) -> Arrays:
        return super().weights() | {"step": np.zeros(1, np.float32)}


class WeightTransposed(Port):
    def weights(self) -> Arrays:
        return {name: array.T for name, array in super().weights().items()}


class BiasAsRow(Port):
    """(1, n) broadcasts against (n,), so no arithmetic complains."""

    def weights(self) -> Arrays:
        return {name: np.atleast_2d(array) for name, array in super().weights().items()}


class NamesShifted(Port):
    def load(self, weights: Arrays) -> None:
        raise ValueError("no layer encoder.0\nin this model")


# ---- Outputs ----------------------------------------------------------------------------------------------


class AxesSwapped(Port):
    def fed(self, inputs: np.ndarray) -> np.ndarray:
        return inputs.reshape(-1, IMAGE_SIDE, IMAGE_SIDE).transpose(0, 2, 1).reshape(inputs.shape)


class DividedBy256(Port):
    def fed(self, inputs: np.ndarray) -> np.ndarray:
        return inputs * np.float32(255 / 256)


class HalfPrecision(Port):
    """The results of the matrix products in float16, as under autocast."""

    def load(self, weights: Arrays) -> None:
        self.oracle = HalfOracle(self.oracle.architecture, weights, dtype=np.float32)


class HalfOracle(Oracle):
    def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        result = super()._forward(name, layer, x)
        return result.astype(np.float16).astype(np.float32) if isinstance(layer, Dense) else result


class BiasIgnored(Port):
    def load(self, weights: Arrays) -> None:
        super().load({name: array * (not name.endswith("bias")) for name, array in weights.items()})


class ReluOutput(Port):
    def __init__(self, problem: Problem) -> None:
        architecture = replace(problem.architecture, output_activation="relu")
        super().__init__(replace(problem, architecture=architecture))


class LinearCode(Port):
    def __init__(self, problem: Problem) -> None:
        architecture = replace(problem.architecture, code_activation="linear")
        super().__init__(replace(problem, architecture=architecture))


class OnePixelNaN(Port):
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        outputs = super().predict(inputs)
        outputs[-1, -1] = np.nan
        return outputs


class OutputsAsImages(Port):
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return super().predict(inputs).reshape(-1, 1, IMAGE_SIDE, IMAGE_SIDE)


class WeightsNotLoaded(Port):
    """Right names and shapes, but weights of its own."""

    def load(self, weights: Arrays) -> None:
        super().load(initial_weights(self.oracle.architecture, seed=99))


class OutputsSlightlyOff(Port):
    """By two millionths of full scale."""

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return super().predict(inputs) + np.float32(2e-6)


# ---- Loss -------------------------------------------------------------------------------------------------


class Rescaled(Port):
    factor = 1.0

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        loss, gradients = super().loss_and_gradients(inputs, targets)
        factor = np.float32(self.factor)
        return self.factor * loss, {name: factor * array for name, array in gradients.items()}


class SumForMean(Rescaled):
    factor = PIXELS


class HalfSquaredError(Rescaled):
    factor = 0.5


class NaNLoss(Port):
    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        return float("nan"), super().loss_and_gradients(inputs, targets)[1]


class LossSlightlyOff(Port):
    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        loss, gradients = super().loss_and_gradients(inputs, targets)
        return loss * (1 + 2e-5), gradients


# ---- Gradients --------------------------------------------------------------------------------------------


class WrongGradients(Port):
    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        loss, gradients = super().loss_and_gradients(inputs, targets)
        return loss, {name: self.spoil(name, gradient) for name, gradient in gradients.items()}

    def spoil(self, name: str, gradient: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class EncoderFrozen(WrongGradients):
    def spoil(self, name: str, gradient: np.ndarray) -> np.ndarray:
        return gradient * (not name.startswith("encoder"))


class WrongSign(WrongGradients):
    def spoil(self, name: str, gradient: np.ndarray) -> np.ndarray:
        return -gradient


class GradientsSlightlyOff(WrongGradients):
    def spoil(self, name: str, gradient: np.ndarray) -> np.ndarray:
        return gradient * np.float32(1 + 3e-5)


class GradientMissing(Port):
    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        loss, gradients = super().loss_and_gradients(inputs, targets)
        gradients.pop("encoder.0.bias")
        return loss, gradients


# ---- One update -------------------------------------------------------------------------------------------


class RateDoubled(Port):
    def move(self, name: str, direction: np.ndarray) -> None:
        super().move(name, 2 * direction)


class RateSlightlyOff(Port):
    def move(self, name: str, direction: np.ndarray) -> None:
        super().move(name, np.float32(1.002) * direction)


class WeightDecay(Port):
    def descend(self, name: str, gradient: np.ndarray) -> None:
        super().descend(name, gradient + np.float32(1e-4) * self.oracle.weights[name])


class Nesterov(Port):
    def descend(self, name: str, gradient: np.ndarray) -> None:
        self.move(name, gradient + np.float32(self.recipe.momentum) * self.accelerate(name, gradient))


class Adam(Port):
    """Its first step: every weight moves by the learning rate."""

    def descend(self, name: str, gradient: np.ndarray) -> None:
        self.move(name, gradient / (np.abs(gradient) + np.float32(1e-8)))


class WeightsStale(Port):
    """`weights` hands out what was there before the step."""

    def load(self, weights: Arrays) -> None:
        super().load(weights)
        self.before = self.oracle.weights

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        self.before = dict(self.oracle.weights)
        return super().step(inputs, targets)

    def weights(self) -> Arrays:
        return self.before


class BiasesNotOptimized(Port):
    def descend(self, name: str, gradient: np.ndarray) -> None:
        if not name.endswith("bias"):
            super().descend(name, gradient)


class NeverSteps(Port):
    def move(self, name: str, direction: np.ndarray) -> None:
        pass


class NaNAfterStep(Port):
    def move(self, name: str, direction: np.ndarray) -> None:
        super().move(name, direction * np.float32("nan"))


# ---- Ten updates ------------------------------------------------------------------------------------------


class ShortBatchDropped(Port):
    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        return super().step(inputs, targets) if len(inputs) == BATCH_SIZE else 0.0


class ShortBatchWeighedAsFull(Port):
    """The sum of squares over the batch size of the recipe, not over the images that came."""

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        loss, gradients = super().loss_and_gradients(inputs, targets)
        share = len(inputs) / BATCH_SIZE
        return share * loss, {name: np.float32(share) * array for name, array in gradients.items()}


class Dampening(Port):
    """v <- m v + (1 - m) g, but v <- g at the first step, as in torch.optim.SGD(dampening=m)."""

    def accelerate(self, name: str, gradient: np.ndarray) -> np.ndarray:
        share = 1 - self.recipe.momentum if self.oracle.velocity[name].any() else 1
        return super().accelerate(name, np.float32(share) * gradient)


class MomentumSlightlyOff(Port):
    def __init__(self, problem: Problem) -> None:
        recipe = problem.recipe.with_changes(momentum=0.999 * problem.recipe.momentum)
        super().__init__(replace(problem, recipe=recipe))


class MomentumForgotten(Port):
    def accelerate(self, name: str, gradient: np.ndarray) -> np.ndarray:
        return gradient


class GradientsNeverZeroed(Port):
    def load(self, weights: Arrays) -> None:
        super().load(weights)
        self.sums = dict.fromkeys(weights, np.float32(0))

    def descend(self, name: str, gradient: np.ndarray) -> None:
        self.sums[name] = self.sums[name] + gradient
        super().descend(name, self.sums[name])


class RateDecays(Port):
    """By 1 % a step."""

    def load(self, weights: Arrays) -> None:
        super().load(weights)
        self.factor = np.float32(1)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        loss = super().step(inputs, targets)
        self.factor *= np.float32(0.99)
        return loss

    def move(self, name: str, direction: np.ndarray) -> None:
        super().move(name, self.factor * direction)


BROKEN = {
    "shapes": [BiasMissing, ExtraTensor, WeightTransposed, BiasAsRow, NamesShifted],
    "outputs": [
        AxesSwapped,
        DividedBy256,
        HalfPrecision,
        BiasIgnored,
        ReluOutput,
        LinearCode,
        OnePixelNaN,
        OutputsAsImages,
        WeightsNotLoaded,
        OutputsSlightlyOff,
    ],
    "loss": [SumForMean, HalfSquaredError, NaNLoss, LossSlightlyOff],
    "gradients": [EncoderFrozen, WrongSign, GradientMissing, GradientsSlightlyOff],
    "one update": [
        RateDoubled,
        RateSlightlyOff,
        WeightDecay,
        Nesterov,
        Adam,
        WeightsStale,
        BiasesNotOptimized,
        NeverSteps,
        NaNAfterStep,
    ],
    "ten updates": [
        ShortBatchDropped,
        ShortBatchWeighedAsFull,
        Dampening,
        MomentumForgotten,
        MomentumSlightlyOff,
        GradientsNeverZeroed,
        RateDecays,
    ],
}


# ---- Right ports ------------------------------------------------------------------------------------------


class OtherSummationOrder(Port):
    """Even and odd inputs of every layer apart: the same sums, other roundings."""

    def load(self, weights: Arrays) -> None:
        self.oracle = HalvesOracle(self.oracle.architecture, weights, dtype=np.float32)


class HalvesOracle(Oracle):
    def _forward(self, name: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        if not isinstance(layer, Dense):
            return super()._forward(name, layer, x)
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return x[:, ::2] @ weight[:, ::2].T + (x[:, 1::2] @ weight[:, 1::2].T + bias)


class WeightsInPlace(Port):
    """Hands out the arrays that it goes on to change."""

    def move(self, name: str, direction: np.ndarray) -> None:
        self.oracle.weights[name] -= np.float32(self.recipe.learning_rate) * direction


def verdicts(port: type[Port], judge: Judge) -> list[Check]:
    return judge.check(port(judge.problem), port.__name__)


@pytest.mark.parametrize(("model", "trained"), PROBLEMS)
@pytest.mark.parametrize(("level", "port"), [(level, port) for level in BROKEN for port in BROKEN[level]])
def test_a_broken_port_is_first_rejected_at(level, port, model, trained):
    checks = verdicts(port, judge_of(model, trained))
    assert not agree(checks)
    assert checks[-1].check == level
    assert all(check.passed for check in checks[:-1])


def test_the_table_covers_every_level():
    assert list(BROKEN) == [level.name for level in LEVELS]


@pytest.mark.parametrize(("model", "trained"), PROBLEMS)
@pytest.mark.parametrize("port", [Port, OtherSummationOrder, WeightsInPlace])
def test_a_right_port_passes_every_level(port, model, trained):
    checks = verdicts(port, judge_of(model, trained))
    assert [check.check for check in checks] == [level.name for level in LEVELS]
    assert agree(checks)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("model", SLIM)
@pytest.mark.parametrize("seed", range(1, 21))
def test_a_right_port_passes_whatever_the_seed(model, trained, seed):
    judge = judge_of(model, trained, seed)
    assert agree(verdicts(Port, judge))
    assert agree(verdicts(OtherSummationOrder, judge))


def test_a_candidate_that_raises_is_rejected_with_its_reason():
    (check,) = verdicts(NamesShifted, judge_of("slim shallow", False))
    assert (check.check, check.passed) == ("shapes", False)
    assert "no layer encoder.0" in check.case


def test_an_error_that_is_not_about_arrays_is_not_hidden():
    class Programming(Port):
        def predict(self, inputs: np.ndarray) -> np.ndarray:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        verdicts(Programming, judge_of("slim shallow", False))


@pytest.mark.parametrize("name", list(initial_weights(SLIM["slim deep"])))
def test_a_nan_in_any_one_gradient_is_noticed(name):
    class OneNaN(WrongGradients):
        def spoil(self, parameter: str, gradient: np.ndarray) -> np.ndarray:
            gradient.flat[-1] = np.nan if parameter == name else gradient.flat[-1]
            return gradient

    assert verdicts(OneNaN, judge_of("slim deep", False))[-1].check == "gradients"


def test_no_level_passes_nan():
    judge = judge_of("slim shallow", False)
    assert not any(judge._judge(level, float("nan"), "").passed for level in LEVELS)
