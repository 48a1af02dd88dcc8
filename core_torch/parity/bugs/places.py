"""Where a bug can exist: conditions on a problem, for `Bug.needs`."""

from collections.abc import Callable

from core_torch.parity.problem import Problem
from core_torch.spec.architecture import Convolutional, FullyConnected
from core_torch.spec.layers import Activation, MaxPooling

Needs = Callable[[Problem], bool]


def is_convolutional(problem: Problem) -> bool:
    """Whether there are kernels."""
    return isinstance(problem.architecture, Convolutional)


def is_dense(problem: Problem) -> bool:
    """Whether there are none."""
    return isinstance(problem.architecture, FullyConnected)


def has_biases(problem: Problem) -> bool:
    """Whether there are biases; the randomized models have none."""
    return any(name.endswith("bias") for name in problem.weights)


def has_square_weight(problem: Problem) -> bool:
    """Whether there is a weight whose transposition no shape betrays."""
    return any(value.ndim == 2 and value.shape[0] == value.shape[1] for value in problem.weights.values())


def has_hidden_layers(problem: Problem) -> bool:
    """Whether there are activations that are neither the code's nor the output's."""
    layers = [*problem.architecture.encoder_layers(), *problem.architecture.decoder_layers()]
    return sum(isinstance(layer, Activation) for layer in layers) > 2


def has_pools(problem: Problem) -> bool:
    """Whether there is a pool."""
    return any(isinstance(layer, MaxPooling) for layer in problem.architecture.encoder_layers())


def has_momentum(problem: Problem) -> bool:
    """Whether there is any plain momentum to get wrong."""
    return problem.recipe.momentum > 0 and not problem.recipe.nesterov


def trains_by(*optimizers: str) -> Needs:
    """Whether the recipe's optimizer is one of these."""
    return lambda problem: problem.recipe.optimizer in optimizers


def aims_at(objective: str) -> Needs:
    """Whether that is what the recipe trains for."""
    return lambda problem: problem.recipe.objective == objective


def output_is(kind: str) -> Needs:
    """Whether that is the output's activation."""
    return lambda problem: problem.architecture.output_activation == kind


def all_of(*conditions: Needs) -> Needs:
    """Whether all hold."""
    return lambda problem: all(condition(problem) for condition in conditions)
