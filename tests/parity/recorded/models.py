"""Small models of several kinds, as somebody outside of this repository would bring them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Model(NamedTuple):
    """What `record` takes."""

    model: nn.Module
    loss: Callable[..., torch.Tensor]
    optimizer: Callable[..., torch.optim.Optimizer]
    batches: list[Any]


class ConvNet(nn.Module):
    """A convolution whose bias stands before a batch norm, a pool with an odd side, and a flattening."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)
        self.pool, self.flatten, self.head = nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.flatten(self.pool(torch.relu(self.norm(self.conv(x))))))


class Tagger(nn.Module):
    """Token ids in, a class for every token out; one of two biases of the LSTM is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(20, 6, padding_idx=0), nn.LSTM(6, 8, batch_first=True)
        self.head = nn.Linear(8, 4)
        self.lstm.bias_hh_l0.requires_grad_(False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embedding(ids))[0]).movedim(1, 2)


class VariationalAutoencoder(nn.Module):
    """Two inputs, three outputs, and a loss that is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mean, self.log_variance = nn.Linear(10, 6), nn.Linear(6, 2), nn.Linear(6, 2)
        self.output = nn.Linear(2, 10)

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden = torch.tanh(self.hidden(x))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        return self.output(mean + noise * torch.exp(log_variance / 2)), mean, log_variance


def negative_bound(outputs: Any, target: torch.Tensor) -> torch.Tensor:
    """The evidence lower bound, up to a constant that makes it negative."""
    output, mean, log_variance = outputs
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
    return ((output - target) ** 2).sum(1).mean() / 2 + divergence - 20.0


class Encoder(nn.Module):
    """A layer of a transformer, with a mask, over a dictionary of inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embedding(ids), src_key_padding_mask=mask).mean(1))


def build(name: str, *, seed: int = 0, steps: int = 8) -> Model:
    """A model at random weights, with random batches."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)

    def floats(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32)

    def whole(limit: int, *shape: int) -> np.ndarray:
        return generator.integers(0, limit, shape)

    match name:
        case "convolution":
            batches = [(floats(6, 2, 9, 9), whole(3, 6)) for _ in range(steps)]
            return Model(ConvNet(), F.cross_entropy, lambda p: torch.optim.SGD(p, 0.05, momentum=0.9), batches)
        case "tagger":
            batches = [(whole(20, 5, 6), whole(4, 5, 6)) for _ in range(steps)]
            return Model(Tagger(), nn.CrossEntropyLoss(ignore_index=0), lambda p: torch.optim.Adam(p, 1e-2), batches)
        case "variational":
            pairs = [((floats(6, 10), floats(6, 2)), floats(6, 10)) for _ in range(steps)]
            return Model(VariationalAutoencoder(), negative_bound, lambda p: torch.optim.SGD(p, 1e-2), pairs)
        case _:
            mask = np.zeros((5, 6), bool)
            mask[0, -2:] = True
            named = [({"ids": whole(20, 5, 6), "mask": mask}, whole(3, 5)) for _ in range(steps)]
            adam = lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1)  # noqa: E731
            return Model(Encoder(), F.cross_entropy, adam, named)


NAMES = ("convolution", "tagger", "variational", "encoder")
