"""python -m core_torch train | sweep | evaluate | figures | encode | data

No framework is imported before the arguments have been judged, so that help and errors answer at once.
"""

import argparse
from collections.abc import Callable
from importlib import import_module

from core_torch.commands.command_line import Parser, add_checkpoint_options, add_json_option, run
from core_torch.commands.train_options import add_train_options
from core_torch.evaluation.projection import PROJECTIONS
from core_torch.files.sources import SOURCES
from core_torch.spec.architecture import ARCHITECTURES
from core_torch.spec.recipe import SOLVERS

PROGRAM = "python -m core_torch"
HOMES = {  # of each command's function
    "train": "train",
    "sweep": "sweep",
    "evaluate": "checkpoint",
    "figures": "checkpoint",
    "encode": "checkpoint",
    "data": "data",
}


def build_parser() -> Parser:
    """Build the commands and their options."""
    parser = Parser(prog=PROGRAM, description="The PyTorch reference autoencoders.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(HOMES))
    train = commands.add_parser("train", help="train a model and report its test error")
    add_training(train)
    every_help = "keep the unfinished run in the output folder, saved every N steps and when it is interrupted"
    train.add_argument("--checkpoint-every", type=int, metavar="N", help=every_help)
    train.add_argument("--resume", action="store_true", help="go on from there, if there is anything")
    figures_help = "leave out the figures and the page of the run"
    train.add_argument("--no-figures", dest="figures", action="store_false", help=figures_help)

    sweep = commands.add_parser("sweep", help="train every combination of several values into one table")
    add_training(sweep, several=True)
    ensemble = "train all at once, of one shape and recipe but for seed, learning rate and corruption; pays on a GPU"
    sweep.add_argument("--ensemble", action="store_true", help=ensemble)

    evaluate = commands.add_parser("evaluate", help="report the test error of a trained model")
    add_checkpoint_options(evaluate)
    evaluate.add_argument("--probe", action="store_true", help="also classify by its codes, pixels, and PCA as wide")

    figures = commands.add_parser("figures", help="draw a trained model's reconstructions, codes, filters, ...")
    add_checkpoint_options(figures)
    figures.add_argument("--output", metavar="DIR", help="write the pictures there (default CHECKPOINT/figures)")
    figures.add_argument("--map", default="pca", help=f"of the codes: {' or '.join(PROJECTIONS)} (default pca)")
    figures.add_argument("--against", metavar="CHECKPOINT", help="a second model, for the Jacobian's spectrum")

    encode = commands.add_parser("encode", help="write the codes of test images")
    add_checkpoint_options(encode)
    encode.add_argument("--output", metavar="FILE", required=True, help="codes and labels as .npz, or codes as .npy")
    encode.add_argument("--train", action="store_true", help="also those of training images, as train_codes")

    data = commands.add_parser("data", help="fetch a published dataset, or check its files")
    data.add_argument("action", metavar="prepare|verify", help="fetch what is absent or damaged; or only look")
    data.add_argument("--dataset", default="mnist", help=f"one of {', '.join(SOURCES)} (default mnist)")
    data.add_argument("--data-root", metavar="DIR", help="folder that holds MNIST/raw (default $MNIST_ROOT or ./data)")
    add_json_option(data)
    return parser


def add_training(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add the options of `train` that are this port's; with `several`, each takes several values."""
    add_train_options(parser, models=tuple(ARCHITECTURES), several=several)
    parser.add_argument(
        "--solver", nargs="+" if several else None, help=f"of randomized models: {', '.join(SOLVERS)} (default ridge)"
    )
    pretrain = "train a dense model layer by layer first"
    parser.add_argument("--pretrain", action=argparse.BooleanOptionalAction, help=pretrain)


def dispatch() -> int | None:
    """Parse the arguments and run the command."""
    options = build_parser().parse_args()
    home = import_module(f"core_torch.commands.{HOMES[options.command]}")
    command: Callable[[argparse.Namespace], int | None] = getattr(home, options.command)
    return command(options)


def main() -> None:
    """Dispatch and exit."""
    run(dispatch, program=PROGRAM)


if __name__ == "__main__":
    main()
