"""python -m lightning_impl: it runs, it prints the figures, and an error is one line with exit code 2."""

import inspect
import json
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
import yaml
from lightning import Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from core_torch.__main__ import main as core_main
from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import load_split
from core_torch.models.autoencoder import build_autoencoder
from core_torch.models.checkpoint import load_checkpoint, save_checkpoint
from core_torch.spec.errors import DivergenceError
from core_torch.spec.presets import PRESETS, preset
from core_torch.spec.recipe import Recipe
from core_torch.training.loop import train
from lightning_impl.__main__ import main
from lightning_impl.callbacks import DisableSigtermBroadcast
from lightning_impl.checkpoint import AtomicCheckpointIO, read_checkpoint
from lightning_impl.commands import Command
from lightning_impl.data import MNISTDataModule
from lightning_impl.model import LitAutoencoder
from lightning_impl.options import (
    COMMANDS,
    DATA,
    DATA_FIELDS,
    MODEL,
    TRAINER,
    TRAINER_DEFAULTS,
    Option,
    may_be_newer,
    option_names,
)
from lightning_impl.training import TerminateOnNonFinite

ROOT = Path(__file__).parents[2]
STOPPING = "lightning.pytorch.callbacks.EarlyStopping"
QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def call(monkeypatch, *arguments: str) -> int:
    """The exit code of a command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["python -m lightning_impl", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def figures(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in map(str.split, text.splitlines())}


def test_fit_prints_the_validation_error_that_the_reference_reaches(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "fit", *QUIET, "--trainer.max_epochs", "2", "--model.seed", "4") == 0
    printed = figures(capsys.readouterr().out)

    recipe = Recipe(epochs=2, seed=4)
    model = build_autoencoder(LitAutoencoder().model.architecture, seed=4)
    history = train(model, ResidentDataset(load_split("digits")), recipe=recipe, progress=False)
    assert printed["validation_mse"] == pytest.approx(history.validation_mse[-1], rel=1e-5)  # six digits
    assert printed["images_per_second"] > 0
    assert not list(tmp_path.iterdir())


CONFIGS = {
    path: yaml.safe_load(path.read_text())["model"] for path in sorted((ROOT / "lightning_impl" / "configs").iterdir())
}
MODELS = {path: named for path, named in CONFIGS.items() if "architecture" in named}
OBJECTIVES = {path: named for path, named in CONFIGS.items() if path not in MODELS}


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda path: path.stem)
@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_configurations_train_what_preset_and_objective_say(path: Path, objective: Path, monkeypatch) -> None:
    named, changes = MODELS[path], OBJECTIVES[objective]
    architecture, recipe = preset(named["preset"], named["architecture"], changes["objective"])
    recipe = recipe.with_changes(**changes)
    monkeypatch.setattr(Command, "fit", lambda self, model, **options: None, raising=False)
    configs = ["--config", str(path), "--config", str(objective)]
    monkeypatch.setattr(sys, "argv", ["", "fit", *configs, *QUIET])
    command = Command(program="test")
    assert command.model.model.architecture == architecture
    assert command.model.recipe == recipe
    assert command.trainer.max_epochs == command.model.epochs
    found = command.datamodule.recipe
    for name in ("batch_size", "validation_fraction", "seed"):
        assert getattr(found, name) == getattr(recipe, name)


def test_there_is_a_configuration_of_every_preset_but_the_default() -> None:
    wanted = {(name, model) for name, models in PRESETS.items() for model, _ in models if name != "default"}
    assert sorted((model["preset"], model["architecture"]) for model in MODELS.values()) == sorted(wanted)
    assert sorted(named["objective"] for named in OBJECTIVES.values()) == ["contractive", "denoising"]


def test_fit_test_and_predict_with_one_configuration(monkeypatch, capsys, tmp_path) -> None:
    config = ["--config", str(ROOT / "lightning_impl" / "configs" / "deep.yaml"), *QUIET]
    keep = ["--trainer.enable_checkpointing", "true", "--trainer.default_root_dir", str(tmp_path)]
    output = ["--output", str(tmp_path / "run")]
    assert call(monkeypatch, "fit", *config, *keep, *output, "--trainer.max_epochs", "1") == 0
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    capsys.readouterr()

    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics.keys() >= set(
        "model objective dataset seed epochs test_mse test_sse jacobian_norm_squared seconds parameters".split()
    )
    assert [metrics[name] for name in ("model", "objective", "epochs")] == ["deep", "standard", 1]
    for start in (["--ckpt_path", str(checkpoint)], ["--model.weights", str(tmp_path / "run")]):
        monkeypatch.setattr(sys, "argv", ["", "test", *config, *start])
        scored = Command(program="test").trainer.callback_metrics["test_mse"]
        assert float(scored) == pytest.approx(metrics["test_mse"], rel=1e-6)
        monkeypatch.setattr(sys, "argv", ["", "validate", *config, *start])
        validated = Command(program="test").trainer.callback_metrics["validation_mse"]
        assert float(validated) == pytest.approx(metrics["validation_mse"], rel=1e-6)
        assert call(monkeypatch, "predict", *config, *start, *output) == 0
        predicted = np.load(tmp_path / "run" / "reconstructions.npy")
        model, recipe, manifest = load_checkpoint(tmp_path / "run")  # the reference's own reader
        with torch.no_grad():
            expected = model(ResidentDataset(load_split("digits", train=False)).data).numpy()
        assert np.abs(predicted - expected).max() < 1e-6
        (tmp_path / "run" / "reconstructions.npy").unlink()
    assert (manifest["model"], recipe.epochs) == ("deep", 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with shallow's checkpoint a.ckpt and weights, at the best preset's start."""
    folder, lit = tmp_path_factory.mktemp("trained"), LitAutoencoder("shallow", "best", seed=2)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.validate(lit, datamodule=MNISTDataModule(), verbose=False)
    trainer.save_checkpoint(folder / "a.ckpt")
    save_checkpoint(folder, lit.model, recipe=lit.recipe, name="shallow", dataset="digits")
    return folder


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--ckpt_path", "a.ckpt", "--model.architecture", "deep"], "has architecture"),
        (["--ckpt_path", "a.ckpt", "--model.architecture", "conv-shallow", "--model.preset", "best"], "architecture"),
        (["--ckpt_path", "a.ckpt", "--model.architecture", "shallow", "--model.objective", "denoising"], "has arch"),
        (["--ckpt_path", "a.ckpt", "--model.learning_rate", "0.5"], "has learning_rate 0.01, found"),
        (["--ckpt_path", "a.ckpt", "--model.weights", "."], "one of them"),
        (["--ckpt_path", "https://example.org/a.ckpt"], "https://example.org/a.ckpt: is a URL"),
        (["--model.weights", "https://example.org/run"], "https://example.org/run: is a URL"),
        (["--model.weights", ".", "--model.architecture", "deep"], "another architecture than deep"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_checkpoint_of_another_model_is_refused(arguments, named, trained, monkeypatch, capsys) -> None:
    monkeypatch.chdir(trained)
    assert call(monkeypatch, "test", *QUIET, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line


@pytest.mark.parametrize("start", ["--ckpt_path a.ckpt", "--model.weights ."])
def test_a_checkpoint_of_the_same_model_is_taken(start: str, trained, monkeypatch, capsys) -> None:
    monkeypatch.chdir(trained)
    same = ["--model.architecture", "shallow", "--model.preset", "best", "--model.seed", "2"]
    assert call(monkeypatch, "test", *QUIET, *start.split(), *same) == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["fti"], "fti"),
        ([], "command"),
        (["fit", "--model.architecture", "shalow"], "did you mean shallow?"),
        (["fit", "--model.learning_rate", "nan"], "learning_rate"),
        (["fit", "--model.learning_rate", "0"], "learning_rate"),
        (["fit", "--model.optimizer", "sgd", "--model.learning_rate", "1e30", *QUIET], "epoch 0: at step 2 the loss"),
        (["fit", "--model.momentum", "0.9"], "momentum"),
        (["fit", "--model.batch_size", "0"], "batch_size"),
        (["fit", "--data.batch_size", "64"], "data.batch_size"),
        (["fit", "--model.preset", "bset"], "did you mean best?"),
        (["fit", "--model.preset", "dcec"], "allowed with preset dcec: conv-deep"),
        (["fit", "--model.architecture", "randomized-deep", "--trainer.max_epochs", "1", *QUIET], "found 1"),
        (["fit", "--output", str(ROOT / "pyproject.toml")], "output"),
        (["fit", "--data.dataset", "mnits"], "did you mean mnist?"),
        (["fit", "--data.dateset", "mnist"], "--data.dateset"),
        (["fit", "--data.seed", "1"], "data.seed"),
        (["fit", "--trainer.accelerator", "abacus"], "abacus"),
        (["fit", "--config", "absent.yaml"], "absent.yaml"),
        (["fit", "--config", "n" * 300], "n" * 300),
        (["test", "--output", "run"], "allowed with: fit, predict"),
        (["predict", "--output", "run", "--return_predictions", "false", *QUIET], "no prediction"),
        (["predict", "--output", "run", "--trainer.limit_predict_batches", "0", *QUIET], "no prediction"),
        (["test", "--ckpt_path", "absent.ckpt"], "absent.ckpt"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(arguments, named, monkeypatch, capsys) -> None:
    assert call(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert re.match("python -m lightning_impl( fit)?: error: ", line)
    assert named in line
    assert not printed.out


@pytest.mark.parametrize(
    ("options", "used", "unused"),
    [
        ("corruption_level 0.3", "objective denoising", "objective contractive"),
        ("corruption masking", "objective denoising", ""),
        ("contraction 0.1", "objective contractive", "objective denoising"),
        ("learning_rate 0.1", "solver gradient-descent architecture randomized-deep", "architecture randomized-deep"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(options, used, unused, monkeypatch, capsys) -> None:
    monkeypatch.setattr(Command, "fit", lambda self, model, **options: None, raising=False)
    name = options.split()[0]
    for others, code in ((used, 0), (unused, 2)):
        words = iter(f"{options} {others}".split())
        given = [word for pair in zip(words, words) for word in (f"--model.{pair[0]}", pair[1])]
        monkeypatch.setattr(Command, "after_fit", lambda self: None)
        assert call(monkeypatch, "fit", *QUIET, *given) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"python -m lightning_impl: error: model.{name}: found with ")
    assert f"allowed with: {used.split()[1]}" in line


def test_missing_data_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr("requests.get", refuse)
    assert call(monkeypatch, "fit", "--data.dataset", "mnist", "--data.data_root", str(tmp_path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "train-images-idx3-ubyte" in line
    assert not list(tmp_path.rglob("*ubyte*"))


def refuse(*arguments: object, **options: object) -> None:
    raise requests.ConnectionError("no network")


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ("--help", 0, "predict"),
        ("fit --help", 0, "--trainer.max_epochs"),
        ("test -h", 0, "--model.learning_rate float"),
        ("fti", 2, "fti"),
        ("fit --model.learning-rate 1", 2, "did you mean --model.learning_rate?"),
        ("fit --data.seed 1", 2, "--data.seed"),
        ("fit --trainer.max_epoch=1", 2, "did you mean --trainer.max_epochs?"),
        ("fit --model.architecture.kind x --config absent.yaml", 2, "absent.yaml"),
    ],
)
def test_help_and_a_wrong_name_answer_without_importing_a_framework(arguments: str, code: int, named: str) -> None:
    program = (
        "import atexit, sys; from lightning_impl.__main__ import main\n"
        "atexit.register(lambda: print({'torch', 'lightning'} & set(sys.modules)))\n"
        "main()"
    )
    command = [sys.executable, "-c", program, *arguments.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert named in (done.stderr if code else done.stdout)
    assert done.stderr.count("\n") == (1 if code else 0)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_names_that_are_written_down_are_lightning_cli_s(command: str, monkeypatch) -> None:
    found: dict[str, set[str]] = {}

    def keep(self: Command, parser: object, args: object) -> None:
        found.update({name: {*parser._option_string_actions} for name, parser in self._subcommand_parsers.items()})
        raise InterruptedError

    monkeypatch.setattr(Command, "parse_arguments", keep)
    with pytest.raises(InterruptedError):
        Command(program="test")
    linked = {f"--data.{name}" for name in DATA_FIELDS}
    theirs = {name for name in found[command] if not name.endswith(("+", ".help")) or name == "--help"}
    assert {*option_names(command)} == theirs - linked
    assert linked < theirs


@pytest.mark.parametrize(
    ("options", "owner"), [(MODEL, LitAutoencoder), (DATA, MNISTDataModule), (TRAINER, Trainer)], ids=str
)
def test_the_defaults_that_are_written_down_are_the_classes(options: tuple[Option, ...], owner: type) -> None:
    parameters = inspect.signature(owner).parameters
    for option in options:
        default = parameters[option.name].default
        if owner is Trainer:
            default = TRAINER_DEFAULTS.get(option.name, default)
        assert option.value.split(" = ")[1] == repr(default), option.name


def test_an_option_of_a_newer_trainer_is_left_to_it(monkeypatch) -> None:
    assert not may_be_newer("--trainer.colour")
    monkeypatch.setattr("lightning_impl.options.version", lambda package: "2.7.0")
    assert may_be_newer("--trainer.colour")
    assert not may_be_newer("--model.colour")


def test_a_run_goes_on_from_the_middle_of_an_epoch_and_only_on_its_own_images(monkeypatch, capsys, tmp_path) -> None:
    keep = ["--trainer.enable_checkpointing", "true", "--trainer.default_root_dir", str(tmp_path)]
    often = "lightning.pytorch.callbacks.ModelCheckpoint"
    keep += [f"--trainer.callbacks+={often}", "--trainer.callbacks.every_n_train_steps", "5"]
    keep += ["--trainer.callbacks.save_top_k", "-1"]
    run = ("fit", *QUIET, "--trainer.max_epochs", "2")
    assert call(monkeypatch, *run, *keep) == 0
    whole = figures(capsys.readouterr().out)
    (middle,) = tmp_path.rglob("*step=5.ckpt")
    assert call(monkeypatch, *run, "--ckpt_path", str(middle)) == 0
    resumed = figures(capsys.readouterr().out)
    for name in ("train_loss", "validation_mse"):
        assert resumed[name] == whole[name]
    (late,) = tmp_path.rglob("*step=20.ckpt")  # in the last epoch, the second of eleven steps
    output = tmp_path / "run"
    assert call(monkeypatch, *run, "--ckpt_path", str(late), "--output", str(output)) == 0
    assert figures(capsys.readouterr().out)["validation_mse"] == whole["validation_mse"]
    assert json.loads((output / "metrics.json").read_text())["epochs"] == 2
    assert (output / "recipe.toml").exists()
    assert call(monkeypatch, *run, "--ckpt_path", str(middle), "--data.dataset", "synthetic") == 2
    assert "was trained on digits, found data.dataset synthetic" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--trainer.precision", "bf16-true"], "trainer.precision: found bf16-true, allowed: 32-true"),
        (["--trainer.precision", "64-true"], "trainer.precision"),
        (["--trainer.overfit_batches", "2"], "trainer.overfit_batches"),
        (["--trainer.accumulate_grad_batches", "0"], "trainer.accumulate_grad_batches: found 0"),
        (["--trainer.gradient_clip_val", "-1"], "trainer.gradient_clip_val: found -1"),
        (["--trainer.strategy", "ddp_spawn", "--trainer.devices", "2"], "trainer.strategy: found ddp_spawn"),
        (["--trainer.default_root_dir", "http://127.0.0.1:9/x"], "trainer.default_root_dir"),
        (
            [f"--trainer.callbacks+={STOPPING}", "--trainer.callbacks.monitor", "nothing", "--trainer.max_epochs", "1"],
            "trainer.callbacks: Early stopping conditioned on metric `nothing`",
        ),
        (["--trainer.max_epochs", "0"], "no whole epoch"),
        (["--trainer.max_steps", "3"], "no whole epoch"),
        (["--trainer.fast_dev_run", "true"], "no whole epoch"),
        (["--seed_everything", "-5"], "-5"),
    ],
)
def test_what_leaves_no_whole_run_is_refused_and_writes_nothing(arguments, named, monkeypatch, capsys, tmp_path):
    output = tmp_path / "run"
    assert call(monkeypatch, "fit", *QUIET, *arguments, "--output", str(output)) == 2
    printed = capsys.readouterr().err
    assert named in printed.splitlines()[-1]
    assert not output.exists()


CONFIGS = {
    "a bomb": ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 9}]\n" for n in range(1, 12)), "by an alias"),
    "a name twice": ("model:\n  learning_rate: 0.1\n  learning_rate: 0.001\n", "gives learning_rate twice"),
    "no YAML": ("model: [", "is not YAML"),
    "a depth without end": ("[" * 100_000, "nested more than"),
    "half a character": ('model: "\\ud800"', ""),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("written", ["--config {}", "--config={}"])
def test_a_configuration_that_would_not_be_read_as_it_stands_is_refused(name, written, monkeypatch, capsys, tmp_path):
    content, named = CONFIGS[name]
    (tmp_path / "a.yaml").write_text(content)
    assert call(monkeypatch, "fit", *QUIET, *written.format(tmp_path / "a.yaml").split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line


class Poison(Callback):
    """Puts a value into a weight, at one step."""

    def __init__(self, value: float) -> None:
        self.value = value

    def on_train_batch_start(self, trainer: Trainer, pl_module: LitAutoencoder, batch: object, batch_idx: int) -> None:
        if trainer.global_step == 15:
            with torch.no_grad():
                pl_module.model.decoder[0].bias[3] = self.value


@pytest.mark.parametrize(("value", "named"), [(float("nan"), "decoder.0.bias"), (float("inf"), "decoder.0.bias")])
def test_a_weight_that_is_not_finite_ends_training_at_its_step_and_the_good_checkpoint_stays(tmp_path, value, named):
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=5, save_top_k=1, filename="{step}")
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[Poison(value), TerminateOnNonFinite(), saver],
        plugins=AtomicCheckpointIO(),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with pytest.raises(DivergenceError, match=f"^epoch 1: at step 5 {named} is not finite"):  # of 11 an epoch
        trainer.fit(LitAutoencoder("shallow"), datamodule=MNISTDataModule())
    assert trainer.global_step < 17
    (kept,) = tmp_path.glob("*.ckpt")
    assert kept.name == "step=15.ckpt"
    read_checkpoint(kept)


def test_an_output_replaces_all_of_an_earlier_model_s(monkeypatch, tmp_path) -> None:
    for name in ("model.keras", "recipe.toml", "reconstructions.npy", "note.txt"):
        (tmp_path / name).touch()
    assert call(monkeypatch, "fit", *QUIET, "--trainer.max_epochs", "1", "--output", str(tmp_path)) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "manifest.json",
        "metrics.json",
        "note.txt",
        "recipe.toml",
        "weights.safetensors",
    }


@pytest.mark.parametrize("config", ["deep", "conv-shallow"])
def test_the_reference_repeats_a_run_by_its_recipe(config: str, monkeypatch, capsys, tmp_path) -> None:
    configs = [str(ROOT / "lightning_impl" / "configs" / f"{name}.yaml") for name in (config, "denoising")]
    numbers = ["--model.seed", "3", "--model.corruption", "gaussian", "--trainer.max_epochs", "1"]
    run = ["fit", *QUIET, "--config", configs[0], "--config", configs[1], *numbers, "--output", str(tmp_path / "run")]
    assert call(monkeypatch, *run) == 0
    command = ["train", "--recipe", str(tmp_path / "run" / "recipe.toml"), "--no-figures", "--device", "cpu"]
    for folder, more in (("same", []), ("other", ["--seed", "4"])):
        monkeypatch.setattr(sys, "argv", ["", *command, "--output", str(tmp_path / folder), *more])
        with pytest.raises(SystemExit) as stopped:
            core_main()
        assert stopped.value.code == 0
    (lit, recipe, about), *others = (load_checkpoint(tmp_path / name) for name in ("run", "same", "other"))
    assert [other[1] == recipe for other in others] == [True, False]
    assert [other[2]["model"] for other in others] == [about["model"]] * 2
    weights = lit.state_dict()
    for (other, *_), same in zip(others, (True, False)):
        assert all(torch.equal(weight, weights[name]) for name, weight in other.state_dict().items()) is same


def test_a_run_that_no_recipe_stands_for_has_none(monkeypatch, capsys, tmp_path) -> None:
    short = ("fit", *QUIET, "--trainer.max_epochs", "1")
    assert call(monkeypatch, *short, "--output", str(tmp_path / "first")) == 0
    again = ("--model.weights", str(tmp_path / "first"), "--output", str(tmp_path / "second"))
    assert call(monkeypatch, *short, *again) == 0
    assert (tmp_path / "first" / "recipe.toml").exists()
    assert not (tmp_path / "second" / "recipe.toml").exists()


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ("--trainer.max_steps 13", 1),
        ("--trainer.limit_train_batches 0.5", 2),
        ("--trainer.gradient_clip_val 0.1", 2),
        ("--data.shuffle false", 2),
        ("--model.architecture randomized-shallow", 2),
    ],
)
def test_nor_has_one_whose_steps_the_reference_would_not_take(options, epochs, monkeypatch, tmp_path) -> None:
    run = ("fit", *QUIET, "--trainer.max_epochs", "2", *options.split(), "--output", str(tmp_path))
    assert call(monkeypatch, *run) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["epochs"] == epochs
    assert not (tmp_path / "recipe.toml").exists()


def test_a_run_that_was_finished_is_written_without_another_step(monkeypatch, capsys, tmp_path) -> None:
    keep = ["--trainer.enable_checkpointing", "true", "--trainer.default_root_dir", str(tmp_path)]
    run = ("fit", *QUIET, "--trainer.max_epochs", "1", "--output")
    assert call(monkeypatch, *run, str(tmp_path / "first"), *keep) == 0
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    assert call(monkeypatch, *run, str(tmp_path / "again"), "--ckpt_path", str(checkpoint)) == 0
    for name in ("weights.safetensors", "recipe.toml"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


def test_a_plugin_that_is_no_checkpoint_io_leaves_ours_in_place(monkeypatch) -> None:
    monkeypatch.setattr(Command, "fit", lambda self, model, **options: None, raising=False)
    monkeypatch.setattr(Command, "after_fit", lambda self: None)
    for plugin, kind in (("LightningEnvironment", AtomicCheckpointIO), ("TorchCheckpointIO", TorchCheckpointIO)):
        home = "environments" if kind is AtomicCheckpointIO else "io"
        given = ["--trainer.plugins", f"lightning.pytorch.plugins.{home}.{plugin}"]
        monkeypatch.setattr(sys, "argv", ["", "fit", *QUIET, *given])
        assert type(Command(program="test").trainer.strategy.checkpoint_io) is kind


def test_tensorboard_is_named_where_it_is_missing_and_written_where_it_is_not(monkeypatch, capsys, tmp_path) -> None:
    logger = ["--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", str(tmp_path)]
    pictures = "--trainer.callbacks+=lightning_impl.callbacks.Pictures"
    run = ("fit", *QUIET, "--trainer.max_epochs", "1", *logger, pictures)
    with monkeypatch.context() as absent:
        for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
            absent.setattr(f"lightning.fabric.loggers.tensorboard.{name}", False)
        assert call(absent, *run) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("tensorboardX: not installed, allowed: pip install autoencoder-reference[tensorboard]")
    pytest.importorskip("tensorboardX")
    assert call(monkeypatch, *run) == 0
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    for tag in (b"train_loss", b"validation_mse", b"validation/reconstructions", b"validation/codes"):
        assert tag in events.read_bytes()


class Terminate(Callback):
    """SIGTERM after the first batch."""

    def on_train_batch_end(self, *arguments: object) -> None:
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("is_disabled", [True, False])
def test_sigterm_reaches_the_handler_from_before_and_no_broadcast(is_disabled: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    called: list[int] = []
    handler = lambda number, frame: called.append(number)  # noqa: E731
    signal.signal(signal.SIGTERM, handler)
    try:
        callbacks = [Terminate(), *([DisableSigtermBroadcast()] if is_disabled else [])]
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(accelerator="cpu", max_steps=2, callbacks=callbacks, enable_checkpointing=False, **quiet)
        with nullcontext() if is_disabled else pytest.raises(SIGTERMException):
            trainer.fit(LitAutoencoder("shallow"), datamodule=MNISTDataModule("digits"))
        assert called[0] == signal.SIGTERM
        assert trainer.received_sigterm is not is_disabled
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
