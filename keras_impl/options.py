"""What this port offers, judged before any framework is imported."""

import argparse
import os
from importlib import import_module
from typing import Any

from core_torch.files.event_files import check_event_files
from core_torch.files.outputs import check_file, check_folder
from core_torch.spec.devices import parse_device
from core_torch.spec.errors import ConfigError, check_choice, check_integer
from core_torch.spec.recipe import Recipe

BACKENDS = ("tensorflow", "jax", "torch")  # values of KERAS_BACKEND
PIPELINES = ("arrays", "tf.data", "pydataset", "resident")  # input pipelines; see `data`
JIT = ("auto", "true", "false")


def add_keras_options(parser: argparse.ArgumentParser) -> None:
    """What `train` offers beyond the options of every port."""
    known = f"how images reach the model: {', '.join(PIPELINES)} (default arrays)"
    parser.add_argument("--pipeline", "--route", dest="pipeline", metavar="NAME", default="arrays", help=known)
    parser.add_argument("--jit-compile", default="auto", help=f"{', '.join(JIT)} (default auto: eager on torch)")
    parser.add_argument("--steps-per-execution", type=int, default=1, metavar="N", help="in one call (default 1)")
    parser.add_argument("--data-parallel", action="store_true", help="share each batch among the devices (JAX)")
    parser.add_argument("--backup", metavar="DIR", help="keep the state after each epoch; go on from one that is there")
    parser.add_argument("--log", metavar="FILE", help="write the history of epochs there as CSV")


def check_logs(options: argparse.Namespace) -> None:
    """Judge --log, --backup and --tensorboard before a long run; `ConfigError` if they cannot be written."""
    if options.log is not None:
        check_file("log", options.log)
    if options.backup is not None:
        check_folder("backup", options.backup)
    if options.tensorboard is not None:
        check_event_files(options.tensorboard)


def choose_device(name: str, *, backend: str) -> None:
    """Hide the other devices from Keras before it is imported. `auto` leaves the choice to Keras.

    Raises:
        ConfigError: no machine has a device of that name, or the backend does not find it.
    """
    kind, number = parse_device(name)
    if kind == "cpu":
        os.environ.update(CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu", KERAS_TORCH_DEVICE="cpu")
    if number is not None and kind == "cuda":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        present = [str(number)] if visible is None else visible.split(",")[number : number + 1]
        os.environ["CUDA_VISIBLE_DEVICES"] = "".join(present)
    if kind == "cuda" and not _finds_gpu(backend):
        raise ConfigError(f"device: found {name}, allowed on this machine with KERAS_BACKEND={backend}: auto, cpu")


def _finds_gpu(backend: str) -> bool:
    framework: Any = import_module(backend)
    if backend == "tensorflow":
        return bool(framework.config.list_physical_devices("GPU"))
    return bool(framework.cuda.is_available() if backend == "torch" else framework.default_backend() == "gpu")


def check_options(
    recipe: Recipe,
    *,
    backend: str,
    pipeline: str = "arrays",
    jit_compile: bool | str = "auto",
    steps_per_execution: int = 1,
    data_parallel: bool = False,
) -> None:
    """Raise `ConfigError` for what Keras, or this port, cannot do with that backend or pipeline."""
    check_choice("KERAS_BACKEND", backend, BACKENDS)
    check_choice("pipeline", pipeline, PIPELINES)
    if not isinstance(jit_compile, bool) and jit_compile != "auto":
        raise ConfigError(f"jit_compile: found {jit_compile!r}, allowed: {', '.join(JIT)}")
    check_integer("steps_per_execution", steps_per_execution, minimum=1)
    if recipe.schedule != "constant" and recipe.momentum:  # Keras's velocity has the rate of its step in it
        raise ConfigError(f"schedule: found {recipe.schedule}, allowed with momentum in the Keras port: constant")
    if pipeline == "tf.data" and backend != "tensorflow":
        raise ConfigError(f"pipeline: found tf.data with KERAS_BACKEND={backend}, allowed: tensorflow")
    if steps_per_execution > 1 and (backend == "torch" or pipeline == "resident"):
        where = "the torch backend" if backend == "torch" else "the resident pipeline"
        raise ConfigError(f"steps_per_execution: found {steps_per_execution}, allowed with {where}: 1")
    if jit_compile is False and (backend, pipeline) == ("jax", "resident"):
        raise ConfigError("jit_compile: found False, allowed with the resident pipeline on JAX: True or auto")
    if data_parallel and (backend, pipeline) != ("jax", "arrays"):
        raise ConfigError(f"data_parallel: found with {backend} and the pipeline {pipeline}, allowed: jax and arrays")
