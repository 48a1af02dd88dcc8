"""python -m core_torch train | evaluate

No framework is imported before the arguments have been judged, so that help and errors answer at once.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from core_torch.contract.architecture import ARCHITECTURES
from core_torch.contract.command_line import (
    Parser,
    add_data_options,
    add_device_option,
    check_results,
    prepare_output,
    run,
)
from core_torch.contract.errors import ConfigError, check_choice
from core_torch.contract.pixels import DATASETS, load_split
from core_torch.contract.recipe import SOLVERS
from core_torch.contract.train_options import add_train_options, chosen
from core_torch.contract.weights_file import write_atomically


def build_parser() -> Parser:
    """The commands and their options."""
    parser = Parser(prog="python -m core_torch", description="The PyTorch reference autoencoders.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train a model and report its test error")
    add_train_options(train, models=tuple(ARCHITECTURES))
    train.add_argument("--solver", help=f"of randomized models: {', '.join(SOLVERS)} (default ridge)")
    train.add_argument("--pretrain", action="store_true", help="train a dense model layer by layer first")
    add_device_option(train)
    evaluate = commands.add_parser("evaluate", help="report the test error of a trained model")
    evaluate.add_argument("checkpoint", metavar="CHECKPOINT", help="a folder that train --output wrote")
    add_data_options(evaluate, dataset=None)
    add_device_option(evaluate)
    evaluate.add_argument("--json", metavar="FILE", help="also write the printed values there")
    return parser


def train(options: argparse.Namespace) -> None:
    """Train, report, and write what was asked for."""
    architecture, recipe = chosen(options, models=tuple(ARCHITECTURES))
    check_combination(options)
    check_results(options)
    splits = [load_split(options.dataset, train=part, root=options.data_root) for part in (True, False)]

    from core_torch.checkpoint import save_checkpoint
    from core_torch.data.resident import ResidentDataset
    from core_torch.device import choose_device
    from core_torch.evaluation.report import measure
    from core_torch.models.autoencoder import build_autoencoder
    from core_torch.objectives.reconstruction import mean_squared_error
    from core_torch.training.layerwise import pretrain
    from core_torch.training.loop import History
    from core_torch.training.loop import train as train_model
    from core_torch.training.randomized import refit_decoder, train_randomized

    progress = sys.stderr.isatty()  # elsewhere an error's one line should stand alone
    device = choose_device(options.device)
    model = build_autoencoder(architecture, seed=recipe.seed)
    dataset, test_set = (ResidentDataset(split, device=device) for split in splits)
    started, history = time.perf_counter(), History()
    before: dict[str, float | None] = {}
    if is_randomized(options):
        solver = options.solver or SOLVERS[0]
        first, *_ = train_randomized(
            model, dataset, recipe=recipe, solver=solver, refit=False, progress=progress
        )
        before = {
            "test_mse_before_transpose": mean_squared_error(first.pair, test_set),
            "test_mse_plain_transpose": mean_squared_error(model, test_set),
            "ridge_condition": first.condition,
        }
        refit_decoder(model, dataset, recipe=recipe)
    else:
        if options.pretrain:
            pretrain(model, dataset, recipe=recipe, progress=progress)
        history = train_model(model, dataset, recipe=recipe, progress=progress)
    seconds = time.perf_counter() - started
    metrics = {
        "model": options.model,
        "objective": recipe.objective,
        "dataset": options.dataset,
        "seed": recipe.seed,
        "epochs": len(history.train_loss),
        **before,
        **measure(model, *splits, device=device, recipe=recipe),
        "seconds": seconds,
    }
    if options.output is not None:
        output = prepare_output(options.output)
        save_checkpoint(output, model, recipe=recipe, name=options.model, dataset=options.dataset)
        write_json(output / "metrics.json", metrics | {"history": history.curves()})
    report(metrics, options)


def is_randomized(options: argparse.Namespace) -> bool:
    """Whether the model is trained layer by layer from random weights."""
    return options.model.startswith("randomized")


def check_combination(options: argparse.Namespace) -> None:
    """Raise `ConfigError` for an option that the model would ignore."""
    if options.pretrain and options.model not in ("shallow", "deep"):
        raise ConfigError(f"pretrain: found with {options.model}, allowed with: shallow, deep")
    if options.solver is not None:
        check_choice("solver", options.solver, SOLVERS)
        if not is_randomized(options):
            raise ConfigError(f"solver: found with {options.model}, allowed with: randomized models")


def evaluate(options: argparse.Namespace) -> None:
    """Score a checkpoint on a test split, by default of what it was trained on."""
    if options.dataset is not None:
        check_choice("dataset", options.dataset, DATASETS)
    check_results(options)

    from core_torch.checkpoint import load_checkpoint
    from core_torch.device import choose_device
    from core_torch.evaluation.report import measure

    device = choose_device(options.device)
    model, recipe, manifest = load_checkpoint(Path(options.checkpoint))
    dataset = options.dataset or str(manifest.get("dataset"))
    splits = [load_split(dataset, train=part, root=options.data_root) for part in (True, False)]
    about = {"model": manifest.get("model"), "objective": recipe.objective, "dataset": dataset}
    report(about | measure(model, *splits, device=device, recipe=recipe), options)


def report(metrics: dict[str, object], options: argparse.Namespace) -> None:
    """Print a line a value, and write them as JSON where asked."""
    for name, value in metrics.items():
        print(f"{name:24} {value:.6g}" if isinstance(value, float) else f"{name:24} {value}")
    if options.json:
        write_json(Path(options.json), metrics)


def write_json(path: Path, values: object) -> None:
    """Atomically, with a newline at the end."""
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())


def main() -> None:
    """Parse, dispatch, exit."""
    options = build_parser().parse_args()
    run(lambda: {"train": train, "evaluate": evaluate}[options.command](options), program="python -m core_torch")


if __name__ == "__main__":
    main()
