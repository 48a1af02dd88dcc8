"""Say which names a port hands out wrongly: missing, unexpected, misshapen and altered ones apart."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

MOST_NAMES = 4  # of a kind; the others are counted


def name_faults(found: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]) -> list[str]:
    """Describe each kind of fault by the names that have it."""
    misshapen = [
        f"{name} (found {np.shape(found[name])}, expected {np.shape(truth[name])})"
        for name in truth
        if name in found and np.shape(found[name]) != np.shape(truth[name])
    ]
    faults = {
        "missing": [name for name in truth if name not in found],
        "unexpected": [name for name in found if name not in truth],
        "of another shape": misshapen,
    }
    return [f"{fault}: {listed(names)}" for fault, names in faults.items() if names]


def weight_faults(found: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Add to `name_faults` the weights that come back with other values than were loaded."""
    yield from name_faults(found, truth)
    altered = [
        name
        for name in truth
        if name in found
        and np.shape(found[name]) == np.shape(truth[name])
        and not np.array_equal(found[name], truth[name])
    ]
    if altered:
        yield f"not as loaded: {listed(altered)}"


def listed(names: Iterable[str]) -> str:
    """Join the first names, and count the others."""
    every = list(names)
    more = [f"and {len(every) - MOST_NAMES} more"] if len(every) > MOST_NAMES else []
    return ", ".join([*every[:MOST_NAMES], *more])
