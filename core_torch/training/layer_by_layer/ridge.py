"""Ridge regression in closed form, from sums over batches. The features of all images are never held at once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from core_torch.data.resident import Batch, ResidentDataset
from core_torch.spec.errors import ConfigError, check_integer, check_number

RIDGE = 1e-8  # times the mean diagonal of H^T H; contractive codes are so ill conditioned that 1e-6 costs error
BLOCK = 2048  # feature columns multiplied at once; bounds the memory of a product
FEATURE_BATCH = 2000  # images whose features are held at once
PASSES = 4  # noisy presentations of each image that a denoiser is fitted to
POWER_STEPS = 30  # of each power iteration behind the condition number
SMALLEST_NORM = torch.finfo(torch.float64).tiny  # keeps 0 / 0 from being NaN

Map = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class RidgeSolution:
    """The map of least squares, and how far to trust it."""

    weight: torch.Tensor  # beta (features, targets) float64
    condition: float  # of the matrix that was inverted, in the 2-norm; estimated from below
    residual: float  # of the normal equations: ||(H^T H + p I) beta - H^T X||_F / ||H^T X||_F


@dataclass(frozen=True)
class NormalEquations:
    """What ridge regression of targets X (N, targets) on features H (N, features) needs, in float64."""

    gram: torch.Tensor  # H^T H (features, features)
    moment: torch.Tensor  # H^T X (features, targets)
    count: int  # N

    def __add__(self, other: "NormalEquations") -> "NormalEquations":
        """Add the equations of two sets of images."""
        return NormalEquations(self.gram + other.gram, self.moment + other.moment, self.count + other.count)

    def solve(self, *, ridge: float = RIDGE, contraction: float = 0.0) -> RidgeSolution:
        """Solve beta = (H^T H + p I)^-1 H^T X by Cholesky; p = ridge mean(diag(H^T H)) + contraction N targets.

        It minimises the squared error per target value + contraction ||beta||_F^2, but for `ridge`.

        Args:
            ridge: keeps the matrix invertible, relative to its diagonal; >= 0.
            contraction: >= 0. Where beta becomes the weight of a linear encoder, ||beta||_F^2 is the
                squared norm of that encoder's Jacobian (Rifai et al., ICML 2011, section 5.1).

        Raises:
            ConfigError: an argument is out of range, a feature is not finite, or the matrix is singular.
        """
        check_number("ridge", ridge, minimum=0)
        check_number("contraction", contraction, minimum=0)
        if not (self.gram.sum() + self.moment.sum()).isfinite():
            raise ConfigError("features: found a value that is not finite, allowed: finite numbers")
        penalty = float(ridge * self.gram.diagonal().mean() + contraction * self.count * self.moment.shape[1])
        matrix = self.gram.clone()
        matrix.diagonal().add_(penalty)
        factor, failure = torch.linalg.cholesky_ex(matrix)
        if failure:
            raise ConfigError(
                f"ridge: found {ridge:g}, which leaves the normal equations singular; raise it, "
                "or lower the corruption_level or the contraction"
            )
        weight = torch.cholesky_solve(self.moment, factor)
        residual = (matrix @ weight - self.moment).norm() / self.moment.norm().clamp_min(SMALLEST_NORM)
        return RidgeSolution(weight, condition_number(matrix, factor), float(residual))


def normal_equations(batches: Iterable[Batch], *, block: int = BLOCK) -> NormalEquations:
    """Sum H^T H and H^T X over batches of features (n, features) and targets (n, targets).

    Products are formed in the precision of the features, `block` of their columns at a time and on one side
    of the diagonal only; sums are float64.
    """
    check_integer("block", block, minimum=1)
    gram = moment = torch.zeros(())
    count = 0
    for features, targets in batches:
        if not count:
            width = features.shape[1]
            gram = features.new_zeros(width, width, dtype=torch.float64)
            moment = features.new_zeros(width, targets.shape[1], dtype=torch.float64)
        for start in range(0, len(gram), block):
            rows = features[:, start : start + block].T
            gram[start : start + block, : start + block] += rows @ features[:, : start + block]
            moment[start : start + block] += rows @ targets.to(features.dtype)
        count += len(features)
    if not count:
        raise ConfigError("data: found no images, allowed: one or more")
    for start in range(block, len(gram), block):
        gram[:start, start : start + block] = gram[start : start + block, :start].T
    return NormalEquations(gram, moment, count)


def feature_batches(
    dataset: ResidentDataset, *, features: Map, target: Map, corrupt: Map | None = None, passes: int = PASSES
) -> Iterator[Batch]:
    """Yield what `normal_equations` sums: each image once, or `passes` times with fresh noise; features float64."""
    for _ in range(passes if corrupt else 1):
        for inputs, targets in dataset.batches(FEATURE_BATCH, shuffle=False):
            yield features(corrupt(inputs) if corrupt else inputs).double(), target(targets)


def condition_number(matrix: torch.Tensor, factor: torch.Tensor) -> float:
    """Estimate largest over smallest eigenvalue of a positive matrix with Cholesky `factor`, by power iteration.

    A Rayleigh quotient lies within the spectrum, so the true value is at least this.
    """
    largest = _largest_eigenvalue(lambda v: matrix @ v, matrix)
    return largest * _largest_eigenvalue(lambda v: torch.cholesky_solve(v, factor), matrix)


def _largest_eigenvalue(multiply: Callable[[torch.Tensor], torch.Tensor], like: torch.Tensor) -> float:
    start = torch.randn(len(like), 1, dtype=like.dtype, generator=torch.Generator().manual_seed(0))
    vector = start.to(like.device)
    for _ in range(POWER_STEPS):
        vector = multiply(vector / vector.norm())
    return float((vector * multiply(vector)).sum() / vector.square().sum())
