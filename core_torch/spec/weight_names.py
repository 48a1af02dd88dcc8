"""Check that weights have exactly the names and shapes of a model."""

from collections.abc import Mapping

import numpy as np

from core_torch.spec.errors import CheckpointError


def check_names_and_shapes(
    weights: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]], *, where: str
) -> None:
    """Raise `CheckpointError` unless `weights` has exactly the expected names and shapes, all finite."""
    missing, extra = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    if missing or extra:
        raise CheckpointError(
            f"{where}: missing {sorted(missing) or 'nothing'}, unexpected {sorted(extra) or 'nothing'}"
        )
    for name, shape in expected.items():
        if tuple(weights[name].shape) != shape:
            raise CheckpointError(f"{where}: {name} has shape {tuple(weights[name].shape)}, expected {shape}")
        if not np.isfinite(weights[name]).all():
            raise CheckpointError(f"{where}: {name} holds a value that is not finite")
