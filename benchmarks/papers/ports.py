"""The standard rows of the original's table from every port: equal recipe, equal seeds, one judge."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.papers.equivalence import FEWEST_PAIRS, Equivalence
from benchmarks.papers.table import Data, Metrics, Row, Table
from core_torch.data.resident import ResidentDataset
from core_torch.models.checkpoint import load_checkpoint
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.parity.external import QUIET, SINGLE_THREAD
from core_torch.spec.architecture import Architecture
from core_torch.spec.errors import ConfigError
from core_torch.spec.presets import preset
from core_torch.spec.recipe import Recipe

DATASET, PRESET = "mnist", "best"
MARGIN = 0.01  # of the mean error of core_torch
CPU = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}  # where a port can be held to the reference's bits
CORE, LIGHTNING = "core_torch", "Lightning"
BACKENDS = {"Keras on TensorFlow": "tensorflow", "Keras on JAX": "jax", "Keras on PyTorch": "torch"}
PORTS = (CORE, LIGHTNING, *BACKENDS)


Settings = tuple[Architecture, Recipe]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A standard model: with `epochs`, the preset's cycle in so few of them, at little cost."""

    model: str
    epochs: int | None = None
    quick: bool = field(default=False, repr=False)

    @property
    def name(self) -> str:
        """As rows call it."""
        return f"{self.model}, {self.epochs} epoch{'s' * (self.epochs > 1)}" if self.epochs else self.model

    @property
    def wanted(self) -> Settings:
        """What its command trains, but for the seed."""
        architecture, recipe = preset(PRESET, self.model, "standard")
        return architecture, recipe.with_changes(epochs=self.epochs)


SEEDS = FEWEST_PAIRS  # of every case
CASES = (
    Case(model="shallow", epochs=2, quick=True),
    Case(model="deep", epochs=2),
    Case(model="conv-shallow", epochs=1),
    Case(model="shallow"),
    Case(model="deep"),
)


def command(port: str, case: Case, *, seed: int, dataset: str, root: str | Path | None, output: Path) -> list[str]:
    """What a user of the port would type."""
    options: dict[str, object] = {"preset": PRESET, "seed": seed, "epochs": case.epochs}
    if port == LIGHTNING:
        start = ["lightning_impl", "fit", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
        options = {f"model.{name}": value for name, value in options.items()}
        options |= {"model.architecture": case.model, "data.dataset": dataset, "data.data_root": root}
    else:
        start = ["core_torch", "train", "--no-figures", "--device=cpu"] if port == CORE else ["keras_impl", "train"]
        options |= {"model": case.model, "dataset": dataset, "data-root": root}
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return [sys.executable, "-m", *start, *given, f"--output={output}"]


def run_port(data: Data, seed: int, *, port: str, case: Case, wanted: Settings, dataset: str = DATASET) -> Metrics:
    """Train by the port's own command in a process of its own, read the weights back, and measure them here.

    Raises:
        ConfigError: the command failed, or trained something else than `wanted`.
    """
    settings = os.environ | SINGLE_THREAD | QUIET | CPU | {"KERAS_BACKEND": BACKENDS.get(port, "")}
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        words = command(port, case, seed=seed, dataset=dataset, root=data.root, output=Path(folder))
        done = subprocess.run(words, env=settings, capture_output=True, text=True)
        if done.returncode:
            raise ConfigError(f"{port}: {' '.join(words[1:])} ended with {done.returncode}: {done.stderr[-500:]}")
        model, recipe, _ = load_checkpoint(Path(folder))
    if (model.architecture, recipe.with_changes(seed=wanted[1].seed)) != wanted or recipe.seed != seed:
        raise ConfigError(f"{port}: trained another model, or by another recipe, than {case.name} with seed {seed}")
    return {"test MSE": mean_squared_error(model, ResidentDataset(data.test))}


def row_name(port: str, case: Case) -> str:
    """Unique in the table."""
    return f"{case.name}: {port}"


TABLE = Table(
    title="The same figures from every port",
    source="the standard rows of the original's categories",
    protocol=(
        "Each port trains by its own command in a process of its own, on the CPU and on one thread (`python -m "
        "core_torch train`, `python -m lightning_impl fit`, `python -m keras_impl train`), with the preset `best`, in "
        "the epochs that a row names or else all of its own, and equal seeds. core_torch reads all weights back and "
        "measures them. Rounding differs between frameworks, and training amplifies it; whether figures still agree, "
        "two one-sided tests on the pairs of equal seeds decide. "
        "The standard models that every port trains, but conv-deep for its cost; Keras has no randomized ones."
    ),
    metrics={"test MSE": ".5f"},
    rows=tuple(
        Row(
            name=row_name(port, case),
            run=partial(run_port, port=port, case=case, wanted=case.wanted),
            quick=case.quick,
            seeds=SEEDS,
        )
        for case in CASES
        for port in PORTS
    ),
    equivalences=tuple(
        Equivalence("test MSE", row_name(port, case), row_name(CORE, case), MARGIN)
        for case in CASES
        for port in PORTS
        if port != CORE
    ),
)
