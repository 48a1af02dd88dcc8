"""python -m lightning_impl: it runs, it prints the figures, and an error is one line with exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning import Trainer

from core_torch.checkpoint import load_checkpoint, save_checkpoint
from core_torch.contract.pixels import load_split
from core_torch.contract.presets import PRESETS, preset
from core_torch.contract.recipe import Recipe
from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import build_autoencoder
from core_torch.training.loop import train
from lightning_impl.__main__ import main
from lightning_impl.command import Command
from lightning_impl.datamodule import MNISTDataModule
from lightning_impl.module import LitAutoencoder

ROOT = Path(__file__).parents[2]
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


CONFIGS = sorted((ROOT / "lightning_impl" / "configs").iterdir())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_trains_what_its_preset_says(path: Path, monkeypatch, capsys) -> None:
    named = yaml.safe_load(path.read_text())["model"]
    architecture, recipe = preset(named["preset"], named["architecture"], "denoising")
    monkeypatch.setattr(Command, "fit", lambda self, model, **options: None, raising=False)
    monkeypatch.setattr(sys, "argv", ["", "fit", "--config", str(path), *QUIET, "--model.objective", "denoising"])
    command = Command(program="test")
    assert command.model.model.architecture == architecture
    assert command.model.recipe == recipe
    assert command.trainer.max_epochs == command.model.epochs
    found = command.datamodule.recipe
    for name in ("batch_size", "validation_fraction", "seed"):
        assert getattr(found, name) == getattr(recipe, name)


def test_there_is_a_configuration_of_every_preset_but_the_default() -> None:
    wanted = {(name, model) for name, models in PRESETS.items() for model, _ in models if name != "default"}
    models = [yaml.safe_load(path.read_text())["model"] for path in CONFIGS]
    assert sorted((model["preset"], model["architecture"]) for model in models) == sorted(wanted)


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
        (["--ckpt_path", "a.ckpt", "--model.architecture", "shallow", "--model.objective", "denoising"], "objective"),
        (["--ckpt_path", "a.ckpt", "--model.learning_rate", "0.5"], "has learning_rate 0.01, found"),
        (["--ckpt_path", "a.ckpt", "--model.weights", "."], "one of them"),
        (["--ckpt_path", "https://example.org/a.ckpt"], "URL"),
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
        (["fit", "--model.optimizer", "sgd", "--model.learning_rate", "1e30", *QUIET], "is nan"),
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
        (["test", "--ckpt_path", "absent.ckpt"], "absent.ckpt"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(arguments, named, monkeypatch, capsys) -> None:
    assert call(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("python -m lightning_impl: error: ")
    assert named in line
    assert not printed.out


def test_missing_data_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr("core_torch.contract.sources.urllib.request.urlopen", refuse)
    assert call(monkeypatch, "fit", "--data.dataset", "mnist", "--data.data_root", str(tmp_path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "train-images-idx3-ubyte" in line
    assert not list(tmp_path.rglob("*ubyte*"))


def refuse(*arguments: object, **options: object) -> None:
    raise OSError("no network")


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("fti", 2)])
def test_help_and_a_wrong_command_answer_without_importing_a_framework(argument: str, code: int) -> None:
    program = (
        "import atexit, sys; from lightning_impl.__main__ import main\n"
        "atexit.register(lambda: print({'torch', 'lightning'} & set(sys.modules)))\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program, argument], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


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
    assert call(monkeypatch, *run, "--ckpt_path", str(middle), "--data.dataset", "synthetic") == 2
    assert "was trained on digits, found data.dataset synthetic" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--trainer.precision", "bf16-true"], "trainer.precision: found bf16-true, allowed: 32-true"),
        (["--trainer.precision", "64-true"], "trainer.precision"),
        (["--trainer.overfit_batches", "2"], "trainer.overfit_batches"),
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


def test_an_output_replaces_all_of_an_earlier_model_s(monkeypatch, tmp_path) -> None:
    for name in ("model.keras", "recipe.toml", "reconstructions.npy", "note.txt"):
        (tmp_path / name).touch()
    assert call(monkeypatch, "fit", *QUIET, "--trainer.max_epochs", "1", "--output", str(tmp_path)) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "manifest.json", "metrics.json", "note.txt", "weights.safetensors",
    }
