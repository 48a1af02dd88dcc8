"""Early stopping: when training ends, and the weights of which epoch remain (Prechelt 1998). Every port asks here."""

import math
from collections.abc import Iterable


class EarlyStopping:
    """Follow the validation error from epoch to epoch.

    An epoch is the best so far if its error is strictly lower than every error before it. A tie is no improvement, and
    NaN is none: the earlier weights stay.

    Args:
        patience: epochs in a row without improvement after which training ends; 0: never stop, never keep weights.
        errors: of the epochs that an earlier process trained.

    Attributes:
        epochs: how many have been recorded.
        best_epoch: the epoch of the lowest error, counted from 0; -1 before the first improvement.
        best_error: its error.
    """

    def __init__(self, patience: int = 0, errors: Iterable[float] = ()) -> None:
        self.patience = patience
        self.epochs, self.best_epoch, self.best_error = 0, -1, math.inf
        for error in errors:
            self.update(error)

    def update(self, error: float | None) -> bool:
        """Record the error of the next epoch. Return whether to keep this epoch's weights."""
        improves = error is not None and error < self.best_error
        if improves and error is not None:
            self.best_epoch, self.best_error = self.epochs, error
        self.epochs += 1
        return improves and self.patience > 0

    @property
    def should_stop(self) -> bool:
        """Whether `patience` epochs in a row did not improve."""
        return self.patience > 0 and self.epochs - 1 - self.best_epoch >= self.patience
