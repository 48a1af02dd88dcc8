"""The benchmark's matrix: which frameworks, by which data variants, with which optimizer. The one table of training.

The contenders of loading are in `loading.py`, the floors in `floors.py`, what a suite runs in `suites.py`.
"""

import shutil
from dataclasses import dataclass, field

from core_torch.spec.recipe import Recipe

# SGD, because every framework's is the same formula; with momentum, because its forms differ. At a rate of 1 a
# step is large beside the rounding of a float32 weight, which at 0.1 would hide what an update check is after.
RECIPE = Recipe(optimizer="sgd", learning_rate=1.0, momentum=0.9, batch_size=512, validation_fraction=0)
RECIPES = {"sgd": RECIPE, "adam": RECIPE.with_changes(optimizer="adam", learning_rate=1e-3, momentum=0.0)}


@dataclass(frozen=True)
class Framework:
    """The module that prepares its trials, its training variants, the package it needs, and its environment."""

    module: str
    variants: dict[str, str]  # {variant: what it does}
    package: str = "numpy"
    environment: dict[str, str] = field(default_factory=dict)


_KERAS_ROUTES = {
    "lean": "whole split on the device, compiled step, no callbacks",
    "fit": "model.fit on NumPy arrays, every option at its default",
}
_LONGER_EXECUTIONS = {
    "fit-10-steps": "as fit, steps_per_execution=10",
    "fit-50-steps": "as fit, steps_per_execution=50",
}
_COMPILED_FIT = {"fit-jit": "as fit, jit_compile=True"}  # JAX's default


def _keras(backend: str, **more_routes: str) -> Framework:
    package = "keras" if backend == "torch" else backend
    return Framework("benchmarks.ports.keras", _KERAS_ROUTES | more_routes, package, {"KERAS_BACKEND": backend})


FRAMEWORKS = {
    "core_torch": Framework(
        "benchmarks.ports.core_torch",
        {
            "lean": "FastMNIST on the device, the readable loop",
            "tutorial": "DataLoader(MNIST, ToTensor), 0 workers, the readable loop",
            "fused": "as lean, with PyTorch's fused optimizer",
            "compiled": "as lean, the model through torch.compile",
            "graphed": "as fused, every step the replay of one CUDA graph",
            "graphed-epoch": "as fused, all steps of an epoch one CUDA graph",
            "graphed-compiled": "as graphed, of the model through torch.compile",
            "ensemble-64": "64 models of one shape, stacked; the time of an image in all of them",
            "by-hand": "FastMNIST as uint8, the step written out without autograd",
        },
        "torch",
    ),
    "lightning": Framework(
        "benchmarks.ports.lightning",
        {
            "lean": "Trainer(barebones=True) over FastMNIST batches",
            "default": "Trainer at its defaults over DataLoader(MNIST, ToTensor), 0 workers",
            "no-extras": "the same without progress bar, summary, logger and checkpoints",
            "barebones": "the same with Trainer(barebones=True)",
        },
        "lightning",
    ),
    "keras-tensorflow": _keras(
        "tensorflow",
        **{"tf.data": "model.fit on tf.data: shuffle, batch, prefetch"},
        **_LONGER_EXECUTIONS,
        **_COMPILED_FIT,
    ),
    "keras-jax": _keras("jax", **_LONGER_EXECUTIONS),
    "keras-torch": _keras("torch", **_COMPILED_FIT),
}
CLOSED_FORM, GRADIENT_DESCENT = "closed form", "gradient descent"
QUALITY = Framework(
    "benchmarks.ports.quality",
    {
        "best": "the preset of that name, or with the changes of `ORIGINALS`, from scratch",
        CLOSED_FORM: "the randomized model's decoder by ridge regression",
        GRADIENT_DESCENT: "the same decoder by the preset's optimizer",
    },
    "torch",
)
BASELINE = ("core_torch", "lean")
# In one order: comparable weight by weight.
GRAPHED_VARIANTS = frozenset({"graphed", "graphed-epoch", "graphed-compiled"})
ENSEMBLE, ENSEMBLE_SIZE = "ensemble-64", 64
ONE_SHUFFLE = frozenset({"lean", "fused", "compiled", "by-hand", ENSEMBLE}) | GRAPHED_VARIANTS
# Routes that only a case with extras times.
EXTRA_VARIANTS = frozenset(
    {"fused", "compiled", "graphed-epoch", "graphed-compiled", "no-extras", "barebones"}
    | _LONGER_EXECUTIONS.keys()
    | _COMPILED_FIT.keys()
)
BY_TORCH_COMPILE = frozenset(
    {("core_torch", "compiled"), ("core_torch", "graphed-compiled"), ("keras-torch", "fit-jit")}
)


BY_HAND = {"shallow": "sgd", "deep": "sgd"}  # {model: optimizer} of the variant by hand, and of many at once


def choose_variants(
    framework: str, *, model: str, optimizer: str = "sgd", extras: bool = False, device: str = "cpu"
) -> list[str]:
    """Return the variants to time that the machine can run.

    A CUDA graph and an ensemble need a CUDA device, torch.compile a C++ compiler.
    """
    absent = set() if extras else set(EXTRA_VARIANTS)
    if not (shutil.which("g++") or shutil.which("clang++")):
        absent |= {variant for owner, variant in BY_TORCH_COMPILE if owner == framework}
    if BY_HAND.get(model) != optimizer:
        absent |= {"by-hand", ENSEMBLE}
    if not device.startswith("cuda"):
        absent |= {*GRAPHED_VARIANTS, ENSEMBLE}
    return [variant for variant in FRAMEWORKS[framework].variants if variant not in absent]
