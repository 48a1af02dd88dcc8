"""The commands train and evaluate, on the backend that KERAS_BACKEND names.

No framework is imported before the arguments have been judged, so that help and errors answer at once.
"""

import argparse
import os
from contextlib import nullcontext
from pathlib import Path

from core_torch.commands.command_line import Parser, add_checkpoint_options, check_results, report, run
from core_torch.commands.train_options import RECIPE_NAME, add_train_options, recipe_file, resolve_options
from core_torch.files.atomic import write_atomically
from core_torch.files.locks import hold
from core_torch.files.metrics import run_metrics, write_metrics
from core_torch.files.outputs import prepare_output, write_csv
from core_torch.files.splits import DATASETS, load_split
from core_torch.spec.errors import check_choice
from core_torch.spec.extras import check_installed
from keras_impl.options import BACKENDS, add_keras_options, check_logs, check_options, choose_device

PROGRAM = "python -m keras_impl"
MODELS = ("shallow", "deep", "conv-shallow", "conv-deep")  # the randomized two need layer-wise training


def build_parser() -> Parser:
    """The commands and their options."""
    backends = f"KERAS_BACKEND is one of {', '.join(BACKENDS)} (default {BACKENDS[0]})."
    parser = Parser(prog=PROGRAM, description=f"The autoencoders in Keras 3. {backends}")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train a model and report its test error", description=backends)
    add_train_options(train, models=MODELS)
    add_keras_options(train)
    evaluate = commands.add_parser("evaluate", help="report the test error of a trained model", description=backends)
    add_checkpoint_options(evaluate)
    return parser


def choose_backend() -> str:
    """The backend, now also in KERAS_BACKEND; `ConfigError` if it is unknown or not installed."""
    backend = os.environ.setdefault("KERAS_BACKEND", BACKENDS[0])
    check_choice("KERAS_BACKEND", backend, BACKENDS)
    check_installed(backend, "keras")
    return backend


def train(options: argparse.Namespace) -> None:
    """Train, report, and write what was asked for."""
    architecture, recipe = resolve_options(options, models=MODELS)
    backend = choose_backend()
    how = {
        "pipeline": options.pipeline,
        "jit_compile": {"true": True, "false": False}.get(options.jit_compile, options.jit_compile),
        "steps_per_execution": options.steps_per_execution,
    }
    check_options(recipe, backend=backend, data_parallel=options.data_parallel, **how)
    check_results(options)
    check_logs(options)
    choose_device(options.device, backend=backend)
    splits = [load_split(options.dataset, train=part, root=options.data_root) for part in (True, False)]

    from keras_impl.callbacks import EventFilesCallback
    from keras_impl.checkpoint import save_checkpoint
    from keras_impl.evaluation import measure
    from keras_impl.model import build_autoencoder
    from keras_impl.parallel import use_data_parallel
    from keras_impl.training import train as train_model

    about: dict[str, object] = {"backend": backend, "pipeline": options.pipeline}
    if options.data_parallel:
        about["devices"] = use_data_parallel()
    callbacks = [EventFilesCallback(options.tensorboard)] if options.tensorboard else []
    backup = options.backup and Path(options.backup)
    with nullcontext() if options.output is None else hold(Path(options.output)):
        model = build_autoencoder(architecture, seed=recipe.seed)
        history = train_model(model, splits[0], recipe=recipe, callbacks=callbacks, backup=backup, **how)
        metrics = run_metrics(
            measure(model, *splits, recipe=recipe),
            model=options.model,
            recipe=recipe,
            dataset=options.dataset,
            epochs=len(history["train_loss"]),
            seconds=sum(history["seconds"]),
            port=about,
        )
        if options.output is not None:
            output = prepare_output(options.output)
            save_checkpoint(output, model, architecture, recipe=recipe, name=options.model, dataset=options.dataset)
            write_metrics(output, metrics, history=history)
            write_atomically(output / RECIPE_NAME, recipe_file(options, recipe).encode())
    if options.log is not None:
        write_csv(options.log, history)
    report(metrics, json_file=options.json)


def evaluate(options: argparse.Namespace) -> None:
    """Score a model of any port on a test split, by default of what it was trained on."""
    backend = choose_backend()
    if options.dataset is not None:
        check_choice("dataset", options.dataset, DATASETS)
    check_results(options)
    choose_device(options.device, backend=backend)

    from keras_impl.checkpoint import load_checkpoint
    from keras_impl.evaluation import measure

    model, recipe, manifest = load_checkpoint(Path(options.checkpoint))
    dataset = options.dataset or str(manifest.get("dataset"))
    splits = [load_split(dataset, train=part, root=options.data_root) for part in (True, False)]
    about = {"model": manifest.get("model"), "objective": recipe.objective, "dataset": dataset}
    report(about | measure(model, *splits, recipe=recipe) | {"backend": backend}, json_file=options.json)


def main() -> None:
    """Parse, dispatch, exit."""
    options = build_parser().parse_args()
    run(lambda: {"train": train, "evaluate": evaluate}[options.command](options), program=PROGRAM)
