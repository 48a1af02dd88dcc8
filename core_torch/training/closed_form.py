"""Ridge regression in closed form, from sums gathered batch by batch: no matrix of all features is ever held."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from core_torch.contract.errors import ConfigError, check_number

RIDGE = 1e-8  # times the mean diagonal of H^T H; small enough to cost no error, large enough to factor
BLOCK = 2048  # feature columns multiplied at once; bounds the memory of a product
POWER_STEPS = 50  # of each power iteration behind the condition number

Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class RidgeSolution:
    """The map of least squares, and how far to trust it."""

    weight: torch.Tensor  # beta (features, targets), float64
    mse: float  # squared error per target value, on what was summed
    condition: float  # of the matrix solved with, in the 2-norm; estimated from below
    residual: float  # of the normal equations, Frobenius norm relative to H^T X


class NormalEquations:
    """The sums that ridge regression of targets X (N, targets) on features H (N, features) needs.

    Products are taken in the precision of the features, sums are kept in float64.

    Attributes:
        gram: H^T H (features, features), filled in its lower triangle.
        moment: H^T X (features, targets).
        energy: the sum of all squared targets.
        count: N.
    """

    def __init__(self, gram: torch.Tensor, moment: torch.Tensor, energy: torch.Tensor, count: int) -> None:
        self.gram, self.moment, self.energy, self.count = gram, moment, energy, count

    @classmethod
    def of(cls, batches: Iterable[Batch], *, block: int = BLOCK) -> "NormalEquations":
        """Sum over (features (n, features), targets (n, targets)), `block` columns of features at a time."""
        sums: NormalEquations | None = None
        for features, targets in batches:
            sums = sums or cls._zeros(features, targets)
            sums.add(features, targets, block=block)
        if sums is None:
            raise ConfigError("data: found no images, allowed: one or more")
        return sums

    @classmethod
    def _zeros(cls, features: torch.Tensor, targets: torch.Tensor) -> "NormalEquations":
        width, options = features.shape[1], {"dtype": torch.float64, "device": features.device}
        return cls(
            torch.zeros(width, width, **options),
            torch.zeros(width, targets.shape[1], **options),
            torch.zeros((), **options),
            0,
        )

    def add(self, features: torch.Tensor, targets: torch.Tensor, *, block: int = BLOCK) -> None:
        """One batch more. The upper triangle is left alone: it would double the work."""
        targets = targets.to(features.dtype)
        for start in range(0, features.shape[1], block):
            end = min(start + block, features.shape[1])
            rows = features[:, start:end].T
            self.gram[start:end, :end] += rows @ features[:, :end]
            self.moment[start:end] += rows @ targets
        self.energy += targets.square().sum(dtype=torch.float64)
        self.count += len(features)

    def solve(self, *, ridge: float = RIDGE, contraction: float = 0.0) -> RidgeSolution:
        """beta = (H^T H + p I)^-1 H^T X, by Cholesky in float64.

        Args:
            ridge: for the numbers' sake, relative to the mean of the diagonal; >= 0.
            contraction: weight of ||beta||_F^2 beside the squared error per target value; >= 0. Where beta^T becomes
                a linear encoder, that is the squared norm of its Jacobian (Rifai et al. 2011, section 5.1).

        Raises:
            ConfigError: an argument is out of range, a summed value was not finite, or the matrix is singular.
        """
        check_number("ridge", ridge, minimum=0)
        check_number("contraction", contraction, minimum=0)
        diagonal = self.gram.diagonal()
        if not (diagonal.sum() + self.energy).isfinite():
            raise ConfigError("data: holds a value that is not finite, allowed: finite numbers")
        # Minimising ||H beta - X||^2 / (N targets) + contraction ||beta||^2 adds contraction N targets.
        penalty = ridge * diagonal.mean() + contraction * self.count * self.moment.shape[1]
        matrix = self.gram.tril()
        matrix.diagonal().add_(penalty)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if failed:
            raise ConfigError(f"ridge: found {ridge:g}, which leaves the normal equations singular; raise it")
        ...
