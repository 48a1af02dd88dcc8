"""Ridge regression on masked images, in the limit of infinitely many masks of each image."""

from core_torch.data.resident import ResidentDataset
from core_torch.spec.errors import check_number
from core_torch.training.layer_by_layer.ridge import (
    FEATURE_BATCH,
    RIDGE,
    NormalEquations,
    RidgeSolution,
    normal_equations,
)


def marginalise_masking(equations: NormalEquations, *, level: float) -> NormalEquations:
    """Return the expectation of equations whose features are pixels, over masks that set some of them to 0.

    Marginalized denoising autoencoder (Chen, Xu, Weinberger, Sha, ICML 2012): with S = H^T H, q the
    probability that a pixel is kept and qq that a given pair is, E[Q]_ij = S_ij qq, E[Q]_ii = S_ii q and
    E[P] = q H^T X. Their masks are independent, so qq = q^2; `Corruption` masks exactly round(level * pixels)
    of each image, so qq = q (kept - 1) / (pixels - 1).
    """
    check_number("corruption_level", level, minimum=0, maximum=1)
    pixels = len(equations.gram)
    kept = pixels - round(level * pixels)
    keep = kept / pixels
    gram = equations.gram * (keep * (kept - 1) / max(pixels - 1, 1))
    gram.diagonal().copy_(equations.gram.diagonal() * keep)
    return NormalEquations(gram, equations.moment * keep, equations.count)


def marginalised_denoiser(dataset: ResidentDataset, *, level: float, ridge: float = RIDGE) -> RidgeSolution:
    """Solve for the linear map (pixels, pixels) that best restores masked images: beta after infinitely many passes."""
    clean = (targets.double() for _, targets in dataset.batches(FEATURE_BATCH, shuffle=False))
    return marginalise_masking(normal_equations((x, x) for x in clean), level=level).solve(ridge=ridge)
