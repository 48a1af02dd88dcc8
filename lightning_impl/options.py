"""The options of the commands, written down, so that help and a misspelt name are answered before Lightning is loaded.

A test holds the tables against the classes that LightningCLI takes its options from.
"""

from dataclasses import fields
from importlib.metadata import version
from typing import NamedTuple

from core_torch.commands.command_line import Parser
from core_torch.spec.recipe import Recipe

COMMANDS = {
    "fit": "train, and print the validation error",
    "validate": "print the error on the held-out images",
    "test": "print the error on the test split",
    "predict": "reconstruct the test split, for a callback to use",
}
DATA_FIELDS = ("batch_size", "validation_fraction", "seed")  # of the data, which are what the model's recipe says
OUTPUT_HELP = (
    "folder for the results of fit: weights.safetensors, manifest.json, metrics.json and recipe.toml; "
    "of predict: reconstructions.npy"
)
DEVICE_HELP = "auto, cpu, cuda or cuda:N, in place of the trainer's accelerator and devices"
TRAINER_DEFAULTS = {"devices": 1, "logger": False, "enable_checkpointing": False}  # instead of its own
DOCUMENTED = "2.6."  # the versions of Lightning that the table below is of; another one may have more options


class Option(NamedTuple):
    """One argument of a class."""

    name: str
    value: str  # its type and its default
    help: str


GENERAL = {
    "--config": "YAML file of these options; of several the last wins",
    "--print_config": "print all options with their values, and stop",
    "--seed_everything": "of what no recipe seeds",
    "--output": OUTPUT_HELP,
    "--device": DEVICE_HELP,
    "--ckpt_path": "checkpoint of fit to go on from, or to look at",
    "--weights_only": "no other is ever read",
}
OWN = {"predict": "return_predictions", "validate": "verbose", "test": "verbose"}  # of the Trainer's method
MODEL = (
    Option("architecture", "str | dict[str, Any] | None = None", "a name, or the table of any architecture"),
    Option("preset", "str = 'default'", "shapes and numbers of a named architecture that are not given here"),
    Option("weights", "str | None = None", "folder that any port wrote, to start from, with its recipe"),
    Option("solver", "str | None = None", "of randomized models: ridge (their default) or gradient-descent"),
    *(
        Option(field.name, f"{type(field.default).__name__} | None = None", "as in the recipe of every port")
        for field in fields(Recipe)
    ),
)
DATA = (
    Option("dataset", "str = 'digits'", "digits, mnist, synthetic and so on; digits needs no files"),
    Option("data_root", "str | None = None", "folder that holds MNIST/raw; default $MNIST_ROOT, then ./data"),
    Option("shuffle", "bool = True", "another order of the training images in every epoch"),
    Option("pipeline", "str = 'resident'", "resident: gathered on the device; dataloader: PyTorch's, image by image"),
    Option("num_workers", "int = 0", "processes of the DataLoader; 0: the Trainer's own"),
)
TRAINER = (
    Option("accelerator", "str | Accelerator = 'auto'", "cpu, gpu, tpu, hpu, mps or auto"),
    Option("strategy", "str | Strategy = 'auto'", "how processes share the work, such as ddp"),
    Option("devices", "list[int] | str | int = 1", "how many, which by number, -1 for all, or auto"),
    Option("num_nodes", "int = 1", "machines"),
    Option("precision", "int | str | None = None", "32-true (default), bf16-mixed or 16-mixed"),
    Option("logger", "Logger | list[Logger] | bool | None = False", "true: TensorBoard, or CSV files"),
    Option("callbacks", "list[Callback] | Callback | None = None", "classes by name, with their arguments"),
    Option("fast_dev_run", "int | bool = False", "run so many batches of each part, and write nothing"),
    Option("max_epochs", "int | None = None", "epochs; default: the recipe's"),
    Option("min_epochs", "int | None = None", "train at least so many epochs"),
    Option("max_steps", "int = -1", "stop after so many steps; -1: no limit"),
    Option("min_steps", "int | None = None", "train at least so many steps"),
    Option("max_time", "str | timedelta | dict[str, int] | None = None", "stop after DD:HH:MM:SS"),
    Option("limit_train_batches", "int | float | None = None", "batches of an epoch, or their fraction"),
    Option("limit_val_batches", "int | float | None = None", "batches of a validation, or their fraction"),
    Option("limit_test_batches", "int | float | None = None", "batches of a test, or their fraction"),
    Option("limit_predict_batches", "int | float | None = None", "batches of a prediction, or their fraction"),
    Option("overfit_batches", "int | float = 0.0", "train and validate on these batches only"),
    Option("val_check_interval", "int | float | str | None = None", "validate after so many batches, or a fraction"),
    Option("check_val_every_n_epoch", "int | None = 1", "validate after so many epochs"),
    Option("num_sanity_val_steps", "int | None = None", "validation batches before training (2)"),
    Option("log_every_n_steps", "int | None = None", "log after so many steps (50)"),
    Option("enable_checkpointing", "bool | None = False", "keep the state of training in default_root_dir"),
    Option("enable_progress_bar", "bool | None = None", "show how far training is (true)"),
    Option("enable_model_summary", "bool | None = None", "print the layers (true)"),
    Option("accumulate_grad_batches", "int = 1", "batches whose gradients make one step"),
    Option("gradient_clip_val", "int | float | None = None", "largest gradient"),
    Option("gradient_clip_algorithm", "str | None = None", "norm (default) or value"),
    Option("deterministic", "bool | str | None = None", "refuse operations that are not deterministic; warn"),
    Option("benchmark", "bool | None = None", "let cuDNN choose algorithms by their time"),
    Option("inference_mode", "bool = True", "evaluate in torch.inference_mode, else in torch.no_grad"),
    Option("use_distributed_sampler", "bool = True", "share images among processes; ours are shared already"),
    Option("profiler", "Profiler | str | None = None", "simple or advanced: time the parts of training"),
    Option("detect_anomaly", "bool = False", "let autograd name the operation that gives NaN"),
    Option("barebones", "bool = False", "switch off all that costs time, to measure the loop"),
    Option("plugins", "Plugin | list[Plugin] | None = None", "classes by name"),
    Option("sync_batchnorm", "bool = False", "share batch statistics among processes"),
    Option("reload_dataloaders_every_n_epochs", "int = 0", "build the batches again after so many epochs; 0: never"),
    Option("default_root_dir", "str | Path | None = None", "folder of logs and checkpoints; default: this one"),
    Option("enable_autolog_hparams", "bool = True", "log the arguments of the model"),
    Option("model_registry", "str | None = None", "name under which a registry keeps the model"),
)
GROUPS = {"model": MODEL, "data": DATA, "trainer": TRAINER}


def build_parser(command: str) -> Parser:
    """Build a parser of a command's options."""
    program = f"python -m lightning_impl {command}"
    parser = Parser(prog=program, usage=f"{program} [options]", description=COMMANDS[command])
    for name, text in GENERAL.items():
        parser.add_argument(*(["-c"] if name == "--config" else []), name, help=text)
    if command in OWN:
        parser.add_argument(f"--{OWN[command]}", help="of the Trainer's method")
    for group, options in GROUPS.items():
        section = parser.add_argument_group(f"--{group}, a YAML file of these, or one by one")
        section.add_argument(f"--{group}", help="YAML file")
        for option in options:
            section.add_argument(f"--{group}.{option.name}", metavar=option.value, help=option.help)
    parser.option_names = list(option_names(command))  # a group does not tell its parser
    return parser


def option_names(command: str) -> tuple[str, ...]:
    """Return every name that a command takes."""
    own = [f"--{OWN[command]}"] if command in OWN else []
    arguments = (f"--{group}.{option.name}" for group, options in GROUPS.items() for option in options)
    return "-h", "--help", "-c", *GENERAL, *own, *(f"--{group}" for group in GROUPS), *arguments


def may_be_newer(name: str) -> bool:
    """Return whether the installed Lightning is of another version, which may know this option of the Trainer."""
    return name.startswith("--trainer.") and not version("lightning").startswith(DOCUMENTED)
