"""Golden traces: slim models of all six architectures, each trained three ways, on real digits, 100 steps in float64.

They need nothing but NumPy and are small enough to be committed. `python -m benchmarks golden` makes them anew.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.parity.judge import Judge
from benchmarks.parity.matrix import EIGHTEEN, Cell, Judges, rates_of, recipe_of
from benchmarks.parity.problem import Problem
from benchmarks.parity.trace import KEPT_STEPS, Trace, load_trace, save_trace
from benchmarks.trial import Arrays
from core_torch.contract.architecture import Architecture, Convolutional, FullyConnected, parameter_shapes
from core_torch.contract.errors import DataFormatError, check_choice
from core_torch.contract.pixels import load_split, to_unit_range

FOLDER = Path(__file__).with_name("traces")
STEPS = 100
POOL = 192  # images from which batches are chosen
BATCH = 12  # images
# The output of the randomized models is linear, and a square weight hides a transposition from every check of shapes.
SLIM: dict[str, Architecture] = {
    "shallow": FullyConnected(widths=(49, 8)),
    "deep": FullyConnected(widths=(49, 10, 5)),
    "randomized-shallow": FullyConnected(widths=(49, 10), bias=False, output_activation="linear"),
    "randomized-deep": FullyConnected(widths=(49, 8, 8), bias=False, output_activation="linear"),
    "conv-shallow": Convolutional(side=12, filters=(2,), kernel_sizes=(3,), code_width=5),
    "conv-deep": Convolutional(side=12, filters=(2, 3), kernel_sizes=(3, 3), code_width=5),
}
GOLDEN = {f"{cell.model}-{cell.objective}": Cell(**{**vars(cell), "steps": STEPS}) for cell in EIGHTEEN}
STACKED = ("loss", "batch/rows")  # one number or row a step


def slim_judges(*, seed: int = 0) -> Judges:
    """Of slim models on the embedded digits. Trained in float64, whose rounding a float32 weight does not show."""
    images = to_unit_range(load_split("digits").images[:POOL]).reshape(POOL, -1)
    return Judges(images, architectures=SLIM, seed=seed, batch=BATCH, training_dtype=np.float64)


def golden(name: str, *, folder: Path = FOLDER) -> Judge:
    """The committed problem, trace and budget of that name.

    Raises:
        ConfigError: there is none.
        DataFormatError: its file is damaged.
    """
    check_choice("golden", name, GOLDEN)
    cell, path = GOLDEN[name], folder / f"{name}.npz"
    stored = load_trace(path)
    try:
        return _unpacked(name, cell, stored)
    except (KeyError, ValueError, TypeError) as error:
        raise DataFormatError(f"{path}: is not a golden trace ({type(error).__name__}: {error})") from error


def write_goldens(folder: Path) -> list[Path]:
    """Make all eighteen, deterministically."""
    judges, paths = slim_judges(), []
    for name, cell in GOLDEN.items():
        paths.append(folder / f"{name}.npz")
        save_trace(paths[-1], _packed(judges.judge(cell)))
    return paths


def _packed(judge: Judge) -> Trace:
    """Weights, gradient and updates as flat vectors, losses and rows as one array: 40 entries fewer a file."""
    problem, truth = judge.problem, judge.truth
    packed = {
        "weights": _flat(problem.weights).astype(np.float32),
        "gradient": _flat({name: truth[f"gradient/{name}@1"] for name in problem.weights}),
        "output": truth["activation/output@1"],
        "loss": np.array([float(truth[f"loss@{step}"]) for step in range(1, STEPS + 1)]),
        "rows": np.concatenate(problem.batches).astype(np.uint8),
        "lengths": np.array([len(rows) for rows in problem.batches], np.uint8),
        "inputs": np.rint(problem.inputs * 255).astype(np.uint8) if problem.recipe.objective == "denoising" else None,
        "budget": np.array(json.dumps(judge.budget)),
    }
    for step in KEPT_STEPS:
        packed[f"update@{step}"] = _flat({name: truth[f"update/{name}@{step}"] for name in problem.weights})
    return {key: value for key, value in packed.items() if value is not None}


def _unpacked(name: str, cell: Cell, stored: Trace) -> Judge:
    architecture = SLIM[cell.model]
    targets = slim_judges().images_for(cell.model)
    inputs = to_unit_range(stored["inputs"]) if "inputs" in stored else targets
    batches = np.split(stored["rows"].astype(np.int64), np.cumsum(stored["lengths"][:-1], dtype=np.int64))
    weights = _named(stored["weights"], architecture)
    recipe = recipe_of(cell, architecture, seed=0)
    rates = rates_of(cell, recipe)
    problem = Problem(f"golden {name}", architecture, recipe, weights, inputs, targets, batches, rates)
    truth = {f"weight/{key}@0": value for key, value in weights.items()}
    truth |= {"activation/input@1": inputs[batches[0]], "activation/output@1": stored["output"]}
    truth |= {f"gradient/{key}@1": value for key, value in _named(stored["gradient"], architecture).items()}
    for step, (rows, loss) in enumerate(zip(batches, stored["loss"]), 1):
        truth |= {f"batch/rows@{step}": rows, f"loss@{step}": loss}
    for step in KEPT_STEPS:
        named = _named(stored[f"update@{step}"], architecture)
        truth |= {f"update/{key}@{step}": value for key, value in named.items()}
    return Judge(problem, truth, json.loads(str(stored["budget"])))


def _flat(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays.values()])


def _named(flat: np.ndarray, architecture: Architecture) -> Arrays:
    shapes = parameter_shapes(architecture)
    parts = np.split(flat, np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts)}
