"""The kinds of right ports: what each is called, how it is made, and which problems it can be asked."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from core_torch.parity.known_ports import KNOWN_PORTS
from core_torch.parity.matrix import FLOAT64
from core_torch.parity.problem import Problem
from core_torch.parity.right_ports import arithmetic as sums
from core_torch.parity.right_ports import convolvers, fast_convolvers, port, updates
from core_torch.parity.right_ports.functions import TWO_SIDED
from core_torch.parity.right_ports.port import Way
from core_torch.spec.architecture import Convolutional, FullyConnected
from core_torch.spec.layers import Convolution, TransposedConvolution

BOTH = ("float32", "float64")
SCRIPTS = Path(__file__).parents[3] / "tests" / "parity" / "workers"  # in a clone, not in a wheel
Fits = Callable[[Problem], bool]


def any_problem(problem: Problem) -> bool:
    """Every problem."""
    return True


def is_convolutional(problem: Problem) -> bool:
    """Problems with images."""
    return isinstance(problem.architecture, Convolutional)


def has_winograd(problem: Problem) -> bool:
    """Problems with a 3 x 3 kernel of stride 1."""
    layers = [*problem.architecture.encoder_layers(), *problem.architecture.decoder_layers()]
    return any(
        isinstance(layer, Convolution | TransposedConvolution) and (layer.kernel, layer.stride) == (3, 1)
        for layer in layers
    )


def has_no_penalty(problem: Problem) -> bool:
    """Problems without a Jacobian."""
    return problem.recipe.objective != "contractive"


def is_plain(problem: Problem) -> bool:
    """Dense problems that the worker in C computes."""
    architecture = problem.architecture
    is_dense = isinstance(architecture, FullyConnected) and not architecture.tied
    return is_dense and has_no_penalty(problem) and "silu" not in vars(architecture).values()


@dataclass(frozen=True)
class Process:
    """A worker that answers for some kinds.

    Attributes:
        name: kinds with the same name and dtype share a process.
        command: as it is started; {dtype} stands for the type of numbers.
        environment: variables of the process.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A right port.

    Attributes:
        way: of a NumPy port, in this process.
        process: of any other, with the options that its `build_candidate` takes.
        fits: whether it can be asked a problem.
        dtypes: in which it computes.
        needs: a package or a program, without which it is not asked.
    """

    way: Way | None = None
    process: Process | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    fits: Fits = any_problem
    dtypes: Sequence[str] = BOTH
    needs: str = "numpy"

    @property
    def missing(self) -> str:
        """Why it cannot be asked here; empty if it can."""
        scripts = [Path(word) for word in self.process.command if "{" not in word] if self.process else []
        lost = [path.name for path in scripts if path.is_absolute() and not path.exists()]
        if lost:
            return f"no file {lost[0]}"
        return "" if find_spec(self.needs) or shutil.which(self.needs) else f"no {self.needs}"


NUMPY: dict[str, Way] = {
    "numpy, BLAS": Way(),
    "numpy, pairwise sums": Way(arithmetic=sums.Pairwise),
    "numpy, one accumulator": Way(arithmetic=sums.Sequential),
    "numpy, one accumulator, from the last term": Way(arithmetic=sums.Backwards),
    "numpy, tree of pairs": Way(arithmetic=sums.Tree),
    "numpy, blocks of 32": Way(arithmetic=sums.Blocked),
    "numpy, eight accumulators": Way(arithmetic=sums.Lanes),
    "numpy, einsum": Way(arithmetic=sums.Einsum),
    "numpy, float64 sums": Way(arithmetic=sums.Float64Sums),
    "numpy, row by row": Way(arithmetic=sums.RowByRow),
    "numpy, batch from the last image": Way(batching=port.backwards),
    "numpy, batch in another order": Way(batching=port.shuffled),
    "numpy, micro-batches": Way(batching=port.micro_batches),
    "numpy, image by image": Way(batching=port.one_by_one),
    "numpy, image by image, one accumulator": Way(arithmetic=sums.Sequential, batching=port.one_by_one),
    "numpy, sigmoid of two sides": Way(curves=TWO_SIDED),
    "numpy, rate inside the velocity": Way(update=updates.RateInside),
    "numpy, moving averages": Way(update=updates.MovingAverage),
}
NUMPY_CONVOLUTIONS: dict[str, Way] = {
    "numpy, channels last": Way(convolver=convolvers.ChannelsLast),
    "numpy, shifted images": Way(convolver=convolvers.Shifts),
    "numpy, dilated transposed convolution": Way(convolver=convolvers.Dilated),
    "numpy, convolution image by image": Way(convolver=convolvers.PerImage),
    "numpy, FFT": Way(convolver=fast_convolvers.Fourier),
}
NUMPY_KINDS = {
    **{name: Kind(way) for name, way in NUMPY.items()},
    **{name: Kind(way, fits=is_convolutional) for name, way in NUMPY_CONVOLUTIONS.items()},
    "numpy, Winograd": Kind(Way(convolver=fast_convolvers.Winograd), fits=has_winograd),
}


def adapter(name: str) -> Process:
    """The worker of a module of `core_torch.parity.adapters`."""
    return Process(name, [sys.executable, "-m", "core_torch.parity.worker", f"core_torch.parity.adapters.{name}"])


def variants(name: str, *chosen: str, needs: str) -> dict[str, Kind]:
    """Of one adapter."""
    process = adapter(name)
    return {f"{needs}, {each}": Kind(process=process, options={"variant": each}, needs=needs) for each in chosen}


TORCH_KINDS = variants(
    "torch_variants",
    *("default", "for loops", "foreach", "fused", "channels last", "compiled", "without oneDNN", "two threads"),
    *("functional call", "gradient of each image", "micro-batches"),
    needs="torch",
)
JAX_KINDS = variants("jax_variants", "jit", "no jit", "gradient of each image", needs="jax")
PORT_KINDS = {
    f"port {name}": Kind(
        process=Process(name, known.command, known.environment),
        dtypes=BOTH if name in FLOAT64 else BOTH[:1],
        needs=known.package,
    )
    for name, known in KNOWN_PORTS.items()
}
SCRIPT_KINDS = {
    "C": Kind(process=Process("C", ["sh", str(SCRIPTS / "build_and_run.sh"), "{dtype}"]), fits=is_plain, needs="cc"),
    "JavaScript": Kind(
        process=Process("JavaScript", ["node", str(SCRIPTS / "worker.js")]), fits=has_no_penalty, needs="node"
    ),
}
GROUPS: dict[str, dict[str, Kind]] = {
    "numpy": NUMPY_KINDS,
    "torch": TORCH_KINDS,
    "jax": JAX_KINDS,
    "ports": PORT_KINDS,
    "languages": SCRIPT_KINDS,
}
