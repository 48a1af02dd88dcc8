"""python -m lightning_impl: it runs, it prints the figures, and an error is one line with exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core_torch.contract.pixels import load_split
from core_torch.contract.recipe import Recipe
from core_torch.data.resident import ResidentDataset
from core_torch.models.autoencoder import build_autoencoder
from core_torch.training.loop import train
from lightning_impl.__main__ import main
from lightning_impl.command import Command
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


@pytest.mark.parametrize("name", ["shallow", "deep"])
def test_the_configurations_run(name: str, monkeypatch, capsys) -> None:
    config = str(ROOT / "lightning_impl" / "configs" / f"{name}.yaml")
    assert call(monkeypatch, "fit", "--config", config, *QUIET, "--trainer.max_epochs", "1") == 0
    assert 0 < figures(capsys.readouterr().out)["validation_mse"] < 1


def test_a_checkpoint_is_scored_with_the_architecture_and_seed_it_was_trained_with(
    monkeypatch, capsys, tmp_path
) -> None:
    model = ["--model.architecture", "deep", "--model.seed", "2", "--trainer.max_epochs", "1"]
    output = ["--trainer.enable_checkpointing", "true", "--trainer.default_root_dir", str(tmp_path)]
    assert call(monkeypatch, "fit", *QUIET, *model, *output) == 0
    expected = figures(capsys.readouterr().out)["validation_mse"]
    (checkpoint,) = tmp_path.rglob("*.ckpt")

    monkeypatch.setattr(sys, "argv", ["", "validate", *QUIET, "--ckpt_path", str(checkpoint)])
    command = Command(program="test")
    assert float(command.trainer.callback_metrics["validation_mse"]) == pytest.approx(expected, rel=1e-5)
    assert torch.load(checkpoint, weights_only=True)["hyper_parameters"]["architecture"] == "deep"


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
        (["fit", "--data.batch_size", "0"], "batch_size"),
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
