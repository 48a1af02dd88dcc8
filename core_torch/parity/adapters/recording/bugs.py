"""Bugs that ports of PyTorch models have, each as candidates that compute what such a port would.

A function per kind of bug takes a setup. It yields (what the bug is, how to build its candidate) for each way in which
the model can have it.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial

from torch import nn

from core_torch.parity.adapters.recording.bug_layers import LAYER_BUGS
from core_torch.parity.adapters.recording.bug_losses import LOSS_BUGS
from core_torch.parity.adapters.recording.bug_optimizers import OPTIMIZER_BUGS
from core_torch.parity.adapters.recording.bug_weights import WEIGHT_BUGS
from core_torch.parity.adapters.recording.setup import Build, Setup
from core_torch.parity.adapters.torch import TorchCandidate, layer_outputs
from core_torch.parity.candidate import Arrays
from core_torch.parity.recorded.trees import Tree

Named = Iterator[tuple[str, Build]]


class GradientsLeft(TorchCandidate[nn.Module]):
    """Never puts gradients back to zero."""

    def step(self, inputs: Tree, targets: Tree) -> float:
        """Add this batch's gradients to all earlier ones."""
        loss = self.loss(inputs, targets)
        loss.backward()
        self.optimizer.step()
        return loss.item()


class EvaluationInTraining(TorchCandidate[nn.Module]):
    """Trains in evaluation mode."""

    def step(self, inputs: Tree, targets: Tree) -> float:
        """Take the step in evaluation mode."""
        with self.evaluating():
            return super().step(inputs, targets)

    def loss_and_gradients(self, inputs: Tree, targets: Tree) -> tuple[float, Arrays]:
        """Loss and gradients in evaluation mode."""
        with self.evaluating():
            return super().loss_and_gradients(inputs, targets)


class TrainingInEvaluation(TorchCandidate[nn.Module]):
    """Evaluates in training mode; running statistics move on the way."""

    def activations(self, inputs: Tree) -> Arrays:
        """Outputs in training mode."""
        return layer_outputs(self.model, self.to_tensor(inputs))


class KeepsOptimizerState(TorchCandidate[nn.Module]):
    """Does not put the optimizer back to its start when weights are loaded."""

    def load(self, weights: Arrays) -> None:
        """Set the weights; the optimizer's state stays."""
        kept = self.optimizer
        super().load(weights)
        self.optimizer = kept


class StaleEvaluation(TorchCandidate[nn.Module]):
    """Evaluates with the weights that were loaded last."""

    def load(self, weights: Arrays) -> None:
        """Set the weights, also those for evaluation."""
        super().load(weights)
        self.loaded = copy.deepcopy(self.model)

    def activations(self, inputs: Tree) -> Arrays:
        """Outputs at the loaded weights."""
        moving, self.model = self.model, self.loaded
        found = super().activations(inputs)
        self.model = moving
        return found


class NeverSteps(TorchCandidate[nn.Module]):
    """Forgets the optimizer's step."""

    def step(self, inputs: Tree, targets: Tree) -> float:
        """The loss; nothing moves but running statistics."""
        return self.loss(inputs, targets).item()


PROGRAMS: dict[str, type[TorchCandidate[nn.Module]]] = {
    "gradients of earlier batches are not put back to zero": GradientsLeft,
    "evaluation mode in training (running statistics, no dropout)": EvaluationInTraining,
    "training mode in evaluation (statistics of the batch)": TrainingInEvaluation,
    "the optimizer's state survives loading": KeepsOptimizerState,
    "evaluation with the weights of the start": StaleEvaluation,
    "the optimizer never steps": NeverSteps,
}


def program_bugs(setup: Setup) -> Named:
    """Wrong programs around the right model."""
    for name, kind in PROGRAMS.items():
        yield name, partial(setup.candidate, kind=kind)


def _of_setups(kind: Callable[[Setup], Iterator[tuple[str, Setup | None]]]) -> Callable[[Setup], Named]:
    """Make candidates of changed setups."""

    def bugs(setup: Setup) -> Named:
        for name, changed in kind(setup):
            if changed is not None:
                yield name, changed.candidate

    return bugs


BUGS: tuple[Callable[[Setup], Named], ...] = (
    program_bugs,
    *map(_of_setups, (*LAYER_BUGS, *LOSS_BUGS, *OPTIMIZER_BUGS)),
    *WEIGHT_BUGS,
)
