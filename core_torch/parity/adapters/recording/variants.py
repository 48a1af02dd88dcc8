"""Legitimate ways to compute the same model in float32: other orders of images and sums, other kernels."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import numpy as np
import torch

from core_torch.parity.adapters.torch import Model, TorchCandidate
from core_torch.parity.candidate import Arrays
from core_torch.parity.recorded.trees import Tree, flatten, map_leaves

JITTER = 2.0**-24  # relative; half the distance of two neighbouring float32 numbers
DRAWS = 3  # jittered runs
ORDERS = 5  # orders of the images beside the given one; each is another order of every sum over a batch


class ShuffledCandidate(TorchCandidate[Model]):
    """Computes every batch in another order of its samples; hands outputs back in the given order."""

    seed = 0

    def _order(self, tree: Tree) -> np.ndarray:
        count = len(next(iter(flatten(tree, name="").values())))
        return np.random.default_rng(self.seed).permutation(count)

    def loss(self, inputs: Tree, targets: Tree) -> torch.Tensor:
        """The loss of the shuffled batch."""
        order = self._order(inputs)
        return super().loss(_take(inputs, order), _take(targets, order))

    def activations(self, inputs: Tree) -> Arrays:
        """The outputs of the shuffled batch, in the given order."""
        order = self._order(inputs)
        count, back = len(order), np.argsort(order)
        found = super().activations(_take(inputs, order))
        return {name: array[back] if array.ndim and len(array) == count else array for name, array in found.items()}


class JitteredCandidate(TorchCandidate[Model]):
    """Changes weights and inputs by about one rounding of float32; meant for float64.

    Where large terms cancel, runs of one framework share their error. This shows what another's could be.
    """

    seed = 0

    def load(self, weights: Arrays) -> None:
        """Set the jittered weights."""
        self.generator = np.random.default_rng(self.seed)
        super().load({name: self._jitter(value) for name, value in weights.items()})

    def loss(self, inputs: Tree, targets: Tree) -> torch.Tensor:
        """The loss at jittered inputs."""
        return super().loss(map_leaves(self._jitter, inputs), targets)

    def activations(self, inputs: Tree) -> Arrays:
        """The outputs at jittered inputs."""
        return super().activations(map_leaves(self._jitter, inputs))

    def _jitter(self, value: np.ndarray) -> np.ndarray:
        if value.dtype.kind != "f":
            return value
        return value * (1 + JITTER * self.generator.standard_normal(value.shape))


def _take(tree: Tree, order: np.ndarray) -> Tree:
    return map_leaves(lambda leaf: leaf[order], tree)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def backends() -> dict[str, list[AbstractContextManager[object]]]:
    """{name: settings under which float32 is computed by other kernels}."""
    return {
        "as it is": [],
        "without oneDNN": [torch.backends.mkldnn.flags(enabled=False)],
        "attention by the plain formula": [torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)],
    }


@contextmanager
def using(settings: list[AbstractContextManager[object]]) -> Iterator[None]:
    """Enter all settings."""
    with ExitStack() as stack:
        for setting in settings:
            stack.enter_context(setting)
        yield
