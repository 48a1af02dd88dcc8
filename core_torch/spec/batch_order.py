"""The one shuffle that every framework follows."""

from collections.abc import Iterator

import numpy as np

from core_torch.spec.errors import check_integer


def epoch_order(count: int, *, seed: int, epoch: int) -> np.ndarray:
    """Draw a permutation (count,) int64 that depends on nothing but its arguments (PCG64 seeded by all three)."""
    return np.random.default_rng([seed, epoch, count]).permutation(count)


def batch_order(
    count: int,
    batch_size: int,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    drop_last: bool = False,
) -> Iterator[np.ndarray]:
    """Yield the index batches of one epoch, each (batch_size,) int64; the last one is shorter unless `drop_last`.

    Raises:
        ConfigError: count or batch_size below 1, seed or epoch below 0.
    """
    check_integer("count", count, minimum=1)
    check_integer("batch_size", batch_size, minimum=1)
    check_integer("seed", seed, minimum=0)
    check_integer("epoch", epoch, minimum=0)
    order = epoch_order(count, seed=seed, epoch=epoch) if shuffle else np.arange(count)
    end = count - count % batch_size if drop_last else count
    return (order[start : start + batch_size] for start in range(0, end, batch_size))
