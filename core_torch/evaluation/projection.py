"""Codes as points of the plane."""

import numpy as np

from core_torch.spec.baselines import principal_components
from core_torch.spec.errors import ConfigError, check_choice
from core_torch.spec.extras import check_installed

PROJECTIONS = ("pca", "tsne")
PERPLEXITY = 30  # of t-SNE, about how many neighbours a point keeps; scikit-learn's default


def project(codes: np.ndarray, *, method: str = "pca", seed: int = 0) -> tuple[np.ndarray, tuple[str, str]]:
    """Map codes (N, width) to points (N, 2), with the names of the axes.

    Args:
        method: `pca`, the two directions of greatest variance; or `tsne` (van der Maaten and Hinton, JMLR 9,
            2008), which keeps neighbours together and distances not, and takes minutes for 10,000 codes.
        seed: of t-SNE.

    Raises:
        ConfigError: no such method, too few codes for it, or scikit-learn is not installed.
    """
    check_choice("map", method, PROJECTIONS)
    if method == "tsne":
        return _tsne(codes, seed=seed), ("t-SNE 1", "t-SNE 2")
    wide = np.pad(codes.astype(np.float64), ((0, 0), (0, max(0, 2 - codes.shape[1]))))
    mean, directions = principal_components(wide, 2)
    points = (wide - mean) @ directions.T
    shares = points.var(axis=0) / (wide.var(axis=0).sum() or 1)
    names = [f"component {number}, {share:.0%} of the variance" for number, share in enumerate(shares, start=1)]
    return points, (names[0], names[1])


def _tsne(codes: np.ndarray, *, seed: int) -> np.ndarray:
    check_installed("sklearn")
    from sklearn.manifold import TSNE

    if len(codes) <= PERPLEXITY:
        raise ConfigError(f"map: tsne needs more than {PERPLEXITY} images, found {len(codes)}")
    points: np.ndarray = TSNE(perplexity=PERPLEXITY, init="pca", random_state=seed).fit_transform(codes)
    return points
