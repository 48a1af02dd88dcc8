"""The deep autoencoder that optimizers are compared on: 784-1000-500-250-30, logistic units, a linear code.

Hinton and Salakhutdinov, Science 2006; trained from a sparse start by Nesterov's momentum alone as in Sutskever,
Martens, Dahl, Hinton, ICML 2013, section 3: cross-entropy summed over pixels, 200 images a step.
"""

import math
from collections.abc import Iterator
from itertools import islice

import torch
from torch.nn import functional as F

from core_torch.data.resident import Batch, ResidentDataset
from core_torch.models.autoencoder import Autoencoder
from core_torch.models.fully_connected import DeepAutoencoder
from core_torch.objectives.reconstruction import squared_error
from core_torch.spec.recipe import Recipe
from core_torch.training.loop import build_optimizer, train_epoch

WIDTHS = (784, 1000, 500, 250, 30)
CONNECTIONS = 15  # weights into a unit that are not 0 at the start
BATCH = 200  # images a step
SLOW = 0.9  # momentum of the last updates, which settle
SPARSE_START = (WIDTHS, CONNECTIONS, BATCH, SLOW)  # what the runs of every row have in common


def sparse_network(*, seed: int) -> DeepAutoencoder:
    """At the sparse start: into each unit `CONNECTIONS` weights of N(0, 1), the others and all biases 0."""
    model = DeepAutoencoder(WIDTHS, hidden_activation="sigmoid", code_activation="linear")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
            if parameter.dim() == 2:
                chosen = torch.rand(parameter.shape, generator=generator).topk(CONNECTIONS, dim=1).indices
                parameter.scatter_(1, chosen, torch.randn(chosen.shape, generator=generator))
    return model


def cross_entropy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Of pixels taken as probabilities, summed over an image and averaged over the batch."""
    return F.binary_cross_entropy(output, target, reduction="sum") / len(output)


class MomentumSchedule:
    """mu_t = min(1 - 2^(-1 - log2(floor(t / period) + 1)), largest); `SLOW` at most in the last updates (equation 5).

    Args:
        period: updates between rises; the paper's is 250 of 750,000.
        updates: in all; the last `settling` of them are slow.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, largest: float, period: int, updates: int, settling: int
    ) -> None:
        self.optimizer, self.largest, self.period = optimizer, largest, period
        self.slow_from, self.done = updates - settling, -1
        self.step()

    def step(self) -> None:
        """Set the momentum of the next update."""
        self.done += 1
        largest = min(self.largest, SLOW) if self.done >= self.slow_from else self.largest
        for group in self.optimizer.param_groups:
            group["momentum"] = min(1 - 2 ** (-1 - math.log2(self.done // self.period + 1)), largest)


def presentations(dataset: ResidentDataset, *, updates: int, seed: int) -> Iterator[Batch]:
    """Batches of one epoch after another, as many as there are updates."""
    epochs = range(math.ceil(updates * BATCH / len(dataset)))
    return islice((batch for epoch in epochs for batch in dataset.batches(BATCH, seed=seed, epoch=epoch)), updates)


def train_hinton(
    model: Autoencoder,
    dataset: ResidentDataset,
    *,
    updates: int,
    learning_rate: float,
    momentum: float,
    period: int,
    settling: int = 0,
    seed: int,
) -> None:
    """In place, on the dataset's device."""
    model.to(dataset.device)
    recipe = Recipe(optimizer="sgd", learning_rate=learning_rate, momentum=momentum, nesterov=momentum > 0)
    optimizer = build_optimizer(model, recipe)
    schedule = MomentumSchedule(optimizer, largest=momentum, period=period, updates=updates, settling=settling)
    train_epoch(
        model,
        presentations(dataset, updates=updates, seed=seed),
        criterion=cross_entropy,
        optimizer=optimizer,
        scheduler=schedule,  # type: ignore[arg-type]
    )


def error_per_image(model: Autoencoder, dataset: ResidentDataset) -> float:
    """Squared error summed over pixels, averaged over images: the papers' unit."""
    return squared_error(model, dataset)[0] / len(dataset)
