"""TimedPort: a candidate that is also timed. Case: one row of a benchmark, as a worker process receives it."""

from dataclasses import dataclass
from typing import Any, Protocol

from core_torch.parity.candidate import Candidate
from core_torch.spec.architecture import Architecture, architecture_from, architecture_named


class TimedPort(Candidate, Protocol):
    """A candidate with its data."""

    def epoch(self, epoch: int) -> int:
        """Train on one pass over the data by the case's variant; returns once the device is done, with the
        number of images seen.
        """


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one worker process prepares. Every field is a plain value, so that it travels as JSON."""

    framework: str  # a key of cases.FRAMEWORKS
    variant: str = "lean"  # how the data reaches the model, a key of that framework's variants
    model: str | dict[str, Any] = "shallow"  # a name in ARCHITECTURES, or what `describe` makes of an architecture
    batch_size: int = 512  # images
    device: str = "cpu"
    dtype: str = "float32"  # or float64

    @property
    def architecture(self) -> Architecture:
        """The one named or described."""
        return architecture_named(self.model) if isinstance(self.model, str) else architecture_from(self.model)
