"""Orders in which a port may add: every sum and every matrix product goes through one of these."""

import numpy as np

CHUNK = 1 << 22  # terms held at once, 16 MiB of float32
BLOCK = 32  # terms that a blocked sum adds before it adds the blocks
LANES = 8  # accumulators of an AVX register in float32


class Arithmetic:
    """NumPy's own sum, which is pairwise, and BLAS."""

    def total(self, terms: np.ndarray) -> np.ndarray:
        """Sum over the last axis."""
        result: np.ndarray = np.ascontiguousarray(terms).sum(axis=-1)
        return result

    def product(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(M, K) and (K, N) -> (M, N)."""
        result: np.ndarray = left @ right
        return result


class Explicit(Arithmetic):
    """Every product is written out as terms, which `total` adds."""

    def product(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(M, K) and (K, N) -> (M, N), some rows at a time."""
        rows = max(1, CHUNK // max(1, right.size))
        columns = np.ascontiguousarray(right.T)
        parts = [self.total(left[at : at + rows, None] * columns) for at in range(0, len(left), rows)]
        return np.concatenate(parts) if parts else left @ right


class Pairwise(Explicit):
    """NumPy's sum instead of BLAS: eight accumulators, then pairs."""


class Sequential(Explicit):
    """One accumulator from the first term to the last, as a loop in C, JavaScript or Rust has."""

    def total(self, terms: np.ndarray) -> np.ndarray:
        """Sum over the last axis."""
        return np.add.accumulate(terms, axis=-1)[..., -1]


class Backwards(Sequential):
    """One accumulator from the last term to the first."""

    def total(self, terms: np.ndarray) -> np.ndarray:
        """Sum over the last axis."""
        return super().total(terms[..., ::-1])


class Tree(Explicit):
    """Pairs, then pairs of pairs, as a GPU reduces."""

    def total(self, terms: np.ndarray) -> np.ndarray:
        """Sum over the last axis."""
        while terms.shape[-1] > 1:
            terms = padded_to(terms, 2)
            half = terms.shape[-1] // 2
            terms = terms[..., :half] + terms[..., half:]
        return terms[..., 0]


class Blocked(Sequential):
    """Blocks of 32 terms, then the blocks, as a tiled matrix product does."""

    def total(self, terms: np.ndarray) -> np.ndarray:
        """Sum over the last axis."""
        terms = padded_to(terms, BLOCK)
        blocks = terms.reshape(*terms.shape[:-1], -1, BLOCK)
        return super().total(super().total(blocks))


class Lanes(Sequential):
    """Eight accumulators side by side, then their sum, as a vectorised loop does."""

    def total(self, terms: np.ndarray) -> np.ndarray:
        """Sum over the last axis."""
        terms = padded_to(terms, LANES)
        lanes = terms.reshape(*terms.shape[:-1], -1, LANES).swapaxes(-1, -2)
        return super().total(super().total(lanes))


class Einsum(Arithmetic):
    """Products by einsum's own loops."""

    def product(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(M, K) and (K, N) -> (M, N)."""
        result: np.ndarray = np.einsum("mk,kn->mn", left, right)
        return result


class Float64Sums(Arithmetic):
    """float32 values, float64 sums."""

    def total(self, terms: np.ndarray) -> np.ndarray:
        """Sum over the last axis."""
        result: np.ndarray = terms.sum(axis=-1, dtype=np.float64).astype(terms.dtype)
        return result

    def product(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(M, K) and (K, N) -> (M, N)."""
        return (left.astype(np.float64) @ right.astype(np.float64)).astype(left.dtype)


class RowByRow(Arithmetic):
    """A matrix-vector product for each row."""

    def product(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(M, K) and (K, N) -> (M, N)."""
        return np.array([row @ right for row in left])


def padded_to(terms: np.ndarray, multiple: int) -> np.ndarray:
    """Add zeros to the last axis until its length is a multiple."""
    missing = -terms.shape[-1] % multiple
    return np.pad(terms, [(0, 0)] * (terms.ndim - 1) + [(0, missing)]) if missing else terms
