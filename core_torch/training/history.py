"""History: what an epoch came to, epoch by epoch."""

import math
from dataclasses import dataclass, field

from core_torch.spec.early_stopping import EarlyStopping
from core_torch.spec.errors import DivergenceError


@dataclass
class History:
    """One value per epoch; epochs count from 0."""

    train_loss: list[float] = field(default_factory=list)  # the criterion, averaged over images
    validation_mse: list[float] = field(default_factory=list)  # squared error per pixel; empty without a split
    seconds: list[float] = field(default_factory=list)  # of wall time, validation included
    best_epoch: int = 0  # of least validation error; the last one without a split

    def record(self, epoch: int, *, loss: float, validation_mse: float | None) -> None:
        """Append an epoch; `DivergenceError` unless its errors are finite."""
        for name, value in (("training loss", loss), ("validation error", validation_mse)):
            if value is not None and not math.isfinite(value):
                raise DivergenceError(f"epoch {epoch}: the {name} is {value}; lower the learning_rate")
        self.train_loss.append(loss)
        if validation_mse is not None:
            self.validation_mse.append(validation_mse)
        self.best_epoch = EarlyStopping(errors=self.validation_mse).best_epoch if self.validation_mse else epoch

    def curves(self) -> dict[str, list[float]]:
        """Return the columns that have values, without the times."""
        columns = {"train_loss": self.train_loss, "validation_mse": self.validation_mse}
        return {name: values for name, values in columns.items() if values}
