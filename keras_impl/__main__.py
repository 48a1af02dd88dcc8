"""python -m keras_impl train, on the backend that KERAS_BACKEND names.

No framework is imported before the arguments have been judged, so that help and errors answer at once.
"""

import argparse
import json
import os
import time
from importlib.util import find_spec
from pathlib import Path

from core_torch.contract.architecture import describe
from core_torch.contract.command_line import Parser, check_results, prepare_output, run
from core_torch.contract.errors import ConfigError, check_choice
from core_torch.contract.pixels import load_split
from core_torch.contract.train_options import add_train_options, chosen
from core_torch.contract.weights_file import save_weights, write_atomically
from keras_impl.options import BACKENDS, ROUTES, check_options

PROGRAM = "python -m keras_impl"
MODELS = ("shallow", "deep", "conv-shallow", "conv-deep")  # the randomized two need layer-wise training


def build_parser() -> Parser:
    """The one command and its options."""
    backends = f"KERAS_BACKEND is one of {', '.join(BACKENDS)} (default {BACKENDS[0]})."
    parser = Parser(prog=PROGRAM, description=f"The autoencoders in Keras 3. {backends}")
    train = parser.add_subparsers(dest="command", required=True).add_parser(
        "train", help="train a model and report its test error", description=backends
    )
    add_train_options(train, models=MODELS)
    train.add_argument("--route", default="arrays", help=f"of the data: {', '.join(ROUTES)} (default arrays)")
    return parser


def choose_backend() -> str:
    """The backend, now also in KERAS_BACKEND; `ConfigError` if it is unknown or not installed."""
    backend = os.environ.setdefault("KERAS_BACKEND", BACKENDS[0])
    check_choice("KERAS_BACKEND", backend, BACKENDS)
    for package in ("keras", backend):
        if find_spec(package) is None:
            raise ConfigError(f"KERAS_BACKEND: found {backend}, but the package {package} is not installed")
    return backend


def train(options: argparse.Namespace) -> None:
    """Train, report, and write what was asked for."""
    architecture, recipe = chosen(options, models=MODELS)
    backend = choose_backend()
    check_options(recipe, backend=backend, route=options.route)
    check_results(options)
    split = load_split(options.dataset, root=options.data_root)
    test_split = load_split(options.dataset, train=False, root=options.data_root)

    from keras_impl.batches import unit_pixels
    from keras_impl.model import build_autoencoder
    from keras_impl.training import squared_error
    from keras_impl.training import train as train_model
    from keras_impl.weight_layout import to_reference_weights

    model = build_autoencoder(architecture, seed=recipe.seed)
    started = time.perf_counter()
    history = train_model(model, split, recipe=recipe, route=options.route)
    seconds = time.perf_counter() - started
    total = squared_error(model, test_split)
    mean_image = unit_pixels(split).mean(axis=0, dtype="float64")
    metrics = {
        "model": options.model,
        "objective": recipe.objective,
        "dataset": options.dataset,
        "seed": recipe.seed,
        "epochs": len(history["train_loss"]),
        "parameters": model.count_params(),
        "test_mse": total / test_split.images.size,
        "test_sse": total / len(test_split),
        "test_mse_of_mean": float(((unit_pixels(test_split) - mean_image) ** 2).mean()),
        "seconds": seconds,
        "backend": backend,
        "route": options.route,
    }
    content = (json.dumps(metrics | {"history": history}, indent=2) + "\n").encode()
    if options.output is not None:
        output = prepare_output(options.output)
        about = {
            "model": options.model,
            "dataset": options.dataset,
            "architecture": describe(architecture),
            "recipe": recipe.to_dict(),
        }
        save_weights(output, to_reference_weights(model, architecture), about=about)
        write_atomically(output / "metrics.json", content)
    if options.json is not None:
        write_atomically(Path(options.json), content)
    about_run = f"{metrics['epochs']} epochs in {seconds:.1f} s"
    print(f"{options.model} on {options.dataset}, Keras on {backend}: {about_run}")
    print(f"test MSE {metrics['test_mse']:.6f}, of the per-pixel mean {metrics['test_mse_of_mean']:.6f}")


def main() -> None:
    """Parse, train, exit."""
    options = build_parser().parse_args()
    run(lambda: train(options), program=PROGRAM)


if __name__ == "__main__":
    main()
