"""The ports of this repository that a comparison can start by name, each in a process of its own."""

import sys
from dataclasses import dataclass, field
from importlib.util import find_spec


@dataclass(frozen=True)
class KnownPort:
    """Where a port's candidate is built, and what it needs.

    Attributes:
        module: has `build_candidate(architecture, recipe, *, dtype)`, which returns a `Candidate`.
        package: must be installed.
        environment: variables that are set before the framework is imported.
    """

    module: str
    package: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """The worker process of this port."""
        return [sys.executable, "-m", "core_torch.parity.worker", self.module]

    @property
    def is_installed(self) -> bool:
        """Whether its package can be imported."""
        return find_spec(self.package) is not None


def _keras(backend: str) -> KnownPort:
    package = "keras" if backend == "torch" else backend
    return KnownPort("keras_impl.candidate", package, {"KERAS_BACKEND": backend})


KNOWN_PORTS = {
    "core_torch": KnownPort("core_torch.training.candidate", "torch"),
    "lightning": KnownPort("lightning_impl.candidate", "lightning"),
    "keras-tensorflow": _keras("tensorflow"),
    "keras-jax": _keras("jax"),
    "keras-torch": _keras("torch"),
}
