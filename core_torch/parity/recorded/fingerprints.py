"""Fingerprints: what a known bug answers, kept at a few positions of each tensor.

A whole trace for every bug would be large. The positions are those at which the bug and the truth differ most, and
some others, so that a port with another bug does not fit by chance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from core_torch.parity.recorded.questions import Trace
from core_torch.parity.tolerances import FACTOR

LARGEST_DIFFERENCES = 24  # positions of each tensor where bug and truth differ most
OTHERS = 24  # positions drawn at random
UNTELLING = 0.01  # relative error of that run, from which on an answer of the bug tells nothing


@dataclass(frozen=True)
class Fingerprint:
    """One bug's answers.

    Attributes:
        name: what the bug is, as messages print it.
        positions: {key: indices into the flat tensor}.
        values: {key: the bug's answer there}.
        norms: {key: the norm of the bug's whole answer}.
        errors: {key: the relative error of the bug's own float32 run}; a bug that overflows amplifies rounding.
    """

    name: str
    positions: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    norms: dict[str, float]
    errors: dict[str, float]

    @classmethod
    def of(cls, name: str, trace: Trace, truth: Trace, *, rounded: Trace) -> Self:
        """Keep the answers of a trace that differ from the truth most, and some others.

        Args:
            trace: the bug's answers in float64.
            rounded: the bug's answers in float32.
        """
        positions = {key: _positions(trace[key], truth[key]) for key in truth if key in trace}
        values = {key: np.asarray(trace[key], np.float64).ravel()[places] for key, places in positions.items()}
        norms = {key: float(np.linalg.norm(np.asarray(trace[key], np.float64))) for key in positions}
        errors = {key: _error(rounded, trace, key) for key in positions}
        return cls(name, positions, values, norms, errors)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Flatten into arrays that `from_arrays` reads."""
        keys = list(self.positions)
        return {
            "keys": np.frombuffer("\n".join(keys).encode(), np.uint8),
            "counts": np.array([len(self.positions[key]) for key in keys], np.int64),
            "positions": np.concatenate([self.positions[key] for key in keys] or [np.zeros(0, np.int64)]),
            "values": np.concatenate([self.values[key] for key in keys] or [np.zeros(0)]),
            "norms": np.array([self.norms[key] for key in keys], np.float64),
            "errors": np.array([self.errors[key] for key in keys], np.float64),
        }

    @classmethod
    def from_arrays(cls, name: str, arrays: Mapping[str, np.ndarray]) -> Self:
        """Read what `to_arrays` returned; `ValueError` or `LookupError` where it does not fit together."""
        keys = arrays["keys"].tobytes().decode().split("\n") if arrays["keys"].size else []
        ends = np.cumsum(arrays["counts"])[:-1]
        positions, values = (np.split(arrays[part], ends) for part in ("positions", "values"))
        norms, errors = arrays["norms"].tolist(), arrays["errors"].tolist()
        return cls(
            name,
            dict(zip(keys, positions, strict=True)),
            dict(zip(keys, values, strict=True)),
            dict(zip(keys, norms, strict=True)),
            dict(zip(keys, errors, strict=True)),
        )

    def fits(self, found: Trace, limits: Mapping[str, float], truth: Trace, *, keys: list[str]) -> bool:
        """Say whether the bug answers as `found` does at every key, within the port's own limits.

        Args:
            limits: {key: largest relative error}; a key without one is not asked.
        """
        return all(self._fits_at(key, found, limits[key], truth) for key in keys if key in limits)

    def _fits_at(self, key: str, found: Trace, limit: float, truth: Trace) -> bool:
        if key not in self.positions or np.shape(found[key]) != truth[key].shape:
            return False
        if not self.errors[key] < UNTELLING:
            return True
        answer = np.asarray(found[key], np.float64)
        limit = max(limit, FACTOR * self.errors[key])
        # The norm of the bug's own answer: its gradient can be a hundred times the true one.
        allowed = limit * max(self.norms[key], float(np.linalg.norm(truth[key]))) or limit
        difference = answer.ravel()[self.positions[key]] - self.values[key]
        norms_agree = abs(float(np.linalg.norm(answer)) - self.norms[key]) <= allowed
        return norms_agree and float(np.linalg.norm(difference)) <= allowed


def _positions(bug: np.ndarray, truth: np.ndarray) -> np.ndarray:
    if np.shape(bug) != truth.shape:
        return np.zeros(0, np.int64)
    if truth.size <= LARGEST_DIFFERENCES + OTHERS:
        return np.arange(truth.size)
    difference = np.abs(np.asarray(bug, np.float64) - truth).ravel()
    largest = np.argpartition(difference, -LARGEST_DIFFERENCES)[-LARGEST_DIFFERENCES:]
    others = np.random.default_rng(truth.size).integers(0, truth.size, OTHERS)
    return np.unique(np.concatenate([largest, others])).astype(np.int64)


def _error(rounded: Trace, trace: Trace, key: str) -> float:
    exact = np.asarray(trace[key], np.float64)
    if key not in rounded or np.shape(rounded[key]) != exact.shape:
        return np.inf
    error = float(np.linalg.norm(rounded[key] - exact)) / (float(np.linalg.norm(exact)) or 1.0)
    return error if np.isfinite(error) else np.inf
