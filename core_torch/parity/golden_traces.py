"""Golden traces: all six architectures, each trained three ways, on real digits, in float64.

Of slim models, 100 steps: these need nothing but NumPy and are small enough to be committed. Of the full-size ones, 10
steps, made where they are wanted. `python -m core_torch.parity golden` makes either.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core_torch.files.splits import load_split, to_unit_range
from core_torch.parity.candidate import Arrays
from core_torch.parity.distance import STATE_KINDS, entries, steps
from core_torch.parity.edges import edge_probes
from core_torch.parity.judge import Judge
from core_torch.parity.matrix import EIGHTEEN, Cell, Judges, rates_of, recipe_of
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.parity.problem import Problem
from core_torch.parity.rounding import rounding_budget
from core_torch.parity.trace import Trace, other_outputs, probed
from core_torch.parity.trace_file import load_trace, save_trace
from core_torch.spec.architecture import (
    ARCHITECTURES,
    Architecture,
    Convolutional,
    FullyConnected,
    parameter_shapes,
)
from core_torch.spec.errors import DataFormatError, check_choice

STATE_STEP = 10  # after which the momentum is kept too
FOLDER = Path(__file__).with_name("traces")
# The output of the randomized models is linear, and a square weight hides a transposition from every check of shapes.
SLIM: dict[str, Architecture] = {
    "shallow": FullyConnected(widths=(49, 8)),
    "deep": FullyConnected(widths=(49, 10, 5)),
    "randomized-shallow": FullyConnected(widths=(49, 10), bias=False, output_activation="linear"),
    "randomized-deep": FullyConnected(widths=(49, 8, 8), bias=False, output_activation="linear"),
    # Odd sides under a pool: 9 here, 7 after the first pool there.
    "conv-shallow": Convolutional(side=9, filters=(2,), kernel_sizes=(3,), code_width=5),
    "conv-deep": Convolutional(side=14, filters=(2, 3), kernel_sizes=(3, 3), code_width=5),
}


class Size(NamedTuple):
    """Of the models, and of what they are given."""

    architectures: Mapping[str, Architecture]
    images: int  # from which batches are chosen
    batch: int  # images
    steps: int


SIZES = {
    "slim": Size(SLIM, images=192, batch=12, steps=100),
    "full": Size(ARCHITECTURES, images=1024, batch=32, steps=10),
}


@dataclass(frozen=True)
class Golden:
    """What a golden trace is of."""

    cell: Cell
    architecture: Architecture

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input as the model sees it; a port is given rows of so many pixels."""
        return self.architecture.input_shape


ADAM = tuple(Cell(model=model, optimizer=optimizer) for model in ARCHITECTURES for optimizer in ("adam", "adamw"))
GOLDEN = {f"{cell.model}-{cell.objective}": Golden(cell, SLIM[cell.model]) for cell in EIGHTEEN} | {
    f"{cell.model}-{cell.objective}-{cell.optimizer}": Golden(cell, SLIM[cell.model]) for cell in ADAM
}


def golden_judges(size: str = "slim", *, seed: int = 0) -> Judges:
    """On the embedded digits. Trained in float64, whose rounding a float32 weight does not show."""
    check_choice("size", size, SIZES)
    images = to_unit_range(load_split("digits").images[: SIZES[size].images])
    return Judges(
        images.reshape(len(images), -1),
        architectures=SIZES[size].architectures,
        seed=seed,
        batch=SIZES[size].batch,
        training_dtype=np.float64,
        all_alive=True,
    )


def golden_cell(name: str, size: str = "slim", *, weights: str = "trained") -> Cell:
    """The cell of the matrix behind a name."""
    check_choice("golden", name, GOLDEN)
    return replace(GOLDEN[name].cell, steps=SIZES[size].steps, weights=weights)


def golden(name: str, *, size: str = "slim", folder: Path = FOLDER) -> Judge:
    """The problem, trace and budget of that name: committed, or of a folder that `write_goldens` has filled.

    Raises:
        ConfigError: there is none.
        DataFormatError: its file is not the one that was written.
    """
    check_choice("size", size, SIZES)
    cell, path = golden_cell(name, size), folder / f"{name}.npz"
    stored = load_trace(path)
    try:
        return _unpacked(f"golden {name}", cell, stored, size)
    except (LookupError, ValueError, TypeError) as error:
        raise DataFormatError(f"{path}: is not a golden trace of size {size} ({error})") from error


def write_goldens(folder: Path, *, size: str = "slim") -> Iterator[Path]:
    """Make all eighteen, deterministically; each path as its file is there."""
    judges = golden_judges(size)
    for name in GOLDEN:
        path = folder / f"{name}.npz"
        save_trace(path, _packed(judges.judge(golden_cell(name, size))))
        yield path


def _packed(judge: Judge) -> Trace:
    """Weights, gradient and updates as flat vectors, losses and rows as one array: 40 entries fewer a file."""
    problem, truth = judge.problem, judge.truth
    shorter = [step for step in steps("update", truth) if step < len(problem.batches)]
    budgets = {step: rounding_budget(problem.first(step), first_steps(truth, step)) for step in shorter}
    packed = {
        "weights": _flat(problem.weights).astype(np.float32),
        "gradient": _flat({name: truth[f"gradient/{name}@1"] for name in problem.weights}),
        "output": truth["activation/output@1"],
        "loss": np.array([float(truth[f"loss@{step}"]) for step in range(1, len(problem.batches) + 1)]),
        "rows": np.concatenate(problem.batches).astype(np.uint16),
        "lengths": np.array([len(rows) for rows in problem.batches], np.uint16),
        "budget": np.array(json.dumps(budgets | {len(problem.batches): judge.budget})),
        "cell": np.array(str(problem.name)),
    }
    if problem.recipe.objective == "denoising":
        packed["inputs"] = np.rint(problem.inputs * 255).astype(np.uint8)
    for kind in STATE_KINDS:
        if shown := entries(f"state/{kind}/", STATE_STEP, truth):
            packed[f"{kind}@{STATE_STEP}"] = _flat(shown)
    return packed | {
        f"update@{step}": _flat(entries("update/", step, truth)) for step in sorted(steps("update", truth))
    }


def first_steps(truth: Trace, last: int) -> Trace:
    """Return the entries up to a step."""
    return {key: value for key, value in truth.items() if int(key.rpartition("@")[2]) <= last}


def _unpacked(name: str, cell: Cell, stored: Trace, size: str) -> Judge:
    if str(stored["cell"]) != str(cell):
        raise ValueError(f"it is of {stored['cell']}")
    judges = golden_judges(size)
    architecture = judges.architectures[cell.model]
    targets = judges.images_for(cell.model)
    inputs = to_unit_range(stored["inputs"]) if "inputs" in stored else targets
    batches = np.split(stored["rows"].astype(np.int64), np.cumsum(stored["lengths"][:-1], dtype=np.int64))
    weights = _named(stored["weights"], architecture)
    recipe = recipe_of(cell, architecture, seed=0)
    problem = Problem(name, architecture, recipe, weights, inputs, targets, batches, rates_of(cell, recipe))
    problem = replace(problem, probes=edge_probes(problem))
    budgets = {int(step): budget for step, budget in json.loads(str(stored["budget"])).items()}
    return Judge(problem, _truth(problem, stored), budgets.pop(len(batches)), budgets)


def _truth(problem: Problem, stored: Trace) -> Trace:
    """Name the stored arrays; outputs of other batches and at other weights follow from them."""
    weights, architecture, batches = problem.weights, problem.architecture, problem.batches
    first = _named(stored["update@1"], architecture)
    truth = {f"first/{key}@1": value for key, value in first.items()}
    truth |= {f"weight/{key}@0": value for key, value in weights.items()}
    truth |= {"activation/input@1": problem.inputs[batches[0]], "activation/output@1": stored["output"]}
    truth["objective@1"] = stored["loss"][0]
    truth |= {f"gradient/{key}@1": value for key, value in _named(stored["gradient"], architecture).items()}
    oracle = OracleCandidate(problem)
    for part in other_outputs(oracle, problem, np.dtype(np.float64), step=0):
        truth |= part
    for probe in problem.probes:
        for part in probed(oracle, probe, np.dtype(np.float64)):
            truth |= part
    for number, (rows, loss) in enumerate(zip(batches, stored["loss"], strict=True), 1):
        truth |= {f"batch/rows@{number}": rows, f"loss@{number}": loss}
    for kept in (key for key in stored if key.startswith("update@")):
        step = int(kept.partition("@")[2])
        changes = _named(stored[kept], architecture)
        truth |= {f"update/{key}@{step}": value for key, value in changes.items()}
        oracle.load({key: weights[key] + value for key, value in changes.items()})
        for part in other_outputs(oracle, problem, np.dtype(np.float64), step=step):
            truth |= part
    for kind in (kind for kind in STATE_KINDS if f"{kind}@{STATE_STEP}" in stored):
        shown = _named(stored[f"{kind}@{STATE_STEP}"], architecture)
        truth |= {f"state/{kind}/{key}@{STATE_STEP}": value for key, value in shown.items()}
    return truth


def _flat(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays.values()])


def _named(flat: np.ndarray, architecture: Architecture) -> Arrays:
    shapes = parameter_shapes(architecture)
    parts = np.split(flat, np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts)}
