"""`python -m core_torch sweep`: train every combination of some values, one by one or all at once, into one table."""

import argparse
import sys
import time
from contextlib import nullcontext
from dataclasses import fields
from itertools import product
from pathlib import Path

from core_torch.commands.command_line import check_results
from core_torch.commands.run_folder import Run
from core_torch.commands.train import build_run, fit, load_splits, resolve_run
from core_torch.commands.train_options import ARCHITECTURE_FIELDS, is_randomized
from core_torch.files.locks import hold
from core_torch.files.outputs import prepare_output, write_csv, write_json
from core_torch.files.splits import Split
from core_torch.spec.architecture import Architecture
from core_torch.spec.devices import parse_device
from core_torch.spec.ensembles import check_alike
from core_torch.spec.errors import ConfigError, DivergenceError
from core_torch.spec.recipe import Recipe

# Options of `train` that take several values here.
GRID = ("model", "preset", *(field.name for field in fields(Recipe) if field.type is not bool))
GRID += (*(field.name for field in ARCHITECTURE_FIELDS), "solver")
# Choose by the first, on images held out of the training split: the least of many test errors is not one.
RESULTS = ("validation_mse", "test_mse", "test_mse_of_mean", "collapsed", "seconds")
TABLE_NAME = "sweep.csv"

Row = dict[str, object]


def sweep(options: argparse.Namespace) -> None:
    """Check every combination, then run them; a run that diverges or has no solution is a row without results."""
    parse_device(options.device)
    check_results(options, files=(TABLE_NAME,))
    values = {name: getattr(options, name) for name in GRID if getattr(options, name) is not None}
    for name, listed in values.items():
        if len(set(listed)) < len(listed):
            raise ConfigError(f"{name}: found {' '.join(map(str, listed))}, allowed: each value once")
    combinations = [dict(zip(values, combination)) for combination in product(*values.values())]
    runs = [argparse.Namespace(**vars(options) | combination) for combination in combinations]
    varied = [name for name, listed in values.items() if len(listed) > 1]
    resolved = [resolve_combination(run, varied) for run in runs]
    if options.ensemble:
        check_ensemble(runs, resolved)
    splits = load_splits(runs[0])

    from core_torch.data.device import choose_device

    choose_device(options.device)  # refuses one that is not there before anything is written
    with nullcontext() if options.output is None else hold(Path(options.output)):
        rows = run_all(options, runs, combinations, resolved, splits)
    write_json(options.json, rows)


def run_all(
    options: argparse.Namespace,
    runs: list[argparse.Namespace],
    combinations: list[dict[str, object]],
    resolved: list[tuple[Architecture, Recipe]],
    splits: tuple[Split, Split],
) -> list[Row]:
    """Run every combination, and write the table after each into the output folder, if there is one."""
    ensemble = fit_ensemble(runs, resolved, splits) if options.ensemble else []
    output = prepare_output(options.output) if options.output is not None else None
    rows: list[Row] = []
    for run, combination, (architecture, recipe) in zip(runs, combinations, resolved):
        row: Row = dict(combination)
        try:
            trained = ensemble[len(rows)] if ensemble else fit(run, architecture, recipe, splits)
            if isinstance(trained, DivergenceError):
                raise trained
            row |= {name: trained.metrics[name] for name in RESULTS if name in trained.metrics}
            if held_out := trained.history.get("validation_mse"):
                row["validation_mse"] = min(held_out) if recipe.patience else held_out[-1]  # of the weights kept
        except (ConfigError, DivergenceError) as error:
            print(f"{len(rows) + 1} of {len(runs)}: {error}", file=sys.stderr)
        rows.append({name: row.get(name) for name in (*combination, *RESULTS)})
        print_row(rows[-1], heading=len(rows) == 1)
        columns = {name: [each[name] for each in rows] for name in rows[0]}
        if output is not None:  # after each run, so that an interrupted sweep leaves what it found
            write_csv(output / TABLE_NAME, columns, first="run")
    return rows


def check_ensemble(runs: list[argparse.Namespace], resolved: list[tuple[Architecture, Recipe]]) -> None:
    """Raise `ConfigError` unless all the combinations can be trained at once."""
    for run in runs:
        if run.pretrain or is_randomized(run):
            found = "pretrain" if run.pretrain else run.model
            raise ConfigError(f"ensemble: found with {found}, allowed with: models trained in epochs alone")
    check_alike(*zip(*resolved))


def fit_ensemble(
    runs: list[argparse.Namespace], resolved: list[tuple[Architecture, Recipe]], splits: tuple[Split, Split]
) -> list[Run | DivergenceError]:
    """Train all of them at once, see `train_ensemble`, and measure each; `seconds` are an equal share of the whole."""
    from core_torch.data.device import choose_device
    from core_torch.data.residency import resident_or_streamed
    from core_torch.models.autoencoder import build_autoencoder
    from core_torch.training.ensemble import train_ensemble

    recipes = [recipe for _, recipe in resolved]
    models = [build_autoencoder(architecture, seed=recipe.seed) for architecture, recipe in resolved]
    started, device = time.perf_counter(), choose_device(runs[0].device)
    dataset = resident_or_streamed(splits[0], device=device)
    histories = train_ensemble(models, dataset, recipes=recipes)
    share = (time.perf_counter() - started) / len(runs)
    return [
        history
        if isinstance(history, DivergenceError)
        else build_run(run, model, recipe, splits, history, device=device, seconds=share)
        for run, model, recipe, history in zip(runs, models, recipes, histories)
    ]


def resolve_combination(run: argparse.Namespace, varied: list[str]) -> tuple[Architecture, Recipe]:
    """Resolve the options of one run; the error names its varied values."""
    combination = ", ".join(f"{name} {getattr(run, name)}" for name in varied)
    try:
        return resolve_run(run)
    except ConfigError as error:
        raise ConfigError(f"{error}{combination and f'; in the combination {combination}'}") from error


def print_row(row: Row, *, heading: bool) -> None:
    """Print a line, below the columns' names if it is the first."""
    shown = {name: f"{value:.5g}" if isinstance(value, float) else str(value) for name, value in row.items()}
    cells = ["-" if cell == "None" else cell for cell in shown.values()]
    widths = [max(len(name), 12) for name in row]
    if heading:
        print("  ".join(name.rjust(width) for name, width in zip(row, widths)))
    print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths)), flush=True)
