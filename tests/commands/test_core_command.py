"""`python -m core_torch` trains, evaluates, and answers every mistake in one line with exit code 2."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import core_torch
from core_torch.files.splits import load_split
from core_torch.spec.recipe import OBJECTIVES

ROOT = Path(core_torch.__file__).parents[1]
TRAIN = ("train", "--epochs", "2", "--dataset", "digits", "--device", "cpu")
FRAMEWORKS = ("torch", "torchvision", "lightning", "tensorflow", "keras", "jax", "triton", "tqdm")


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """No GPU, no data, and a network that answers nothing: a proxy at a port where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{bound.getsockname()[1]}"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nobody)
    inherited = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    return (
        inherited
        | proxies
        | {
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "MNIST_ROOT": str(tmp_path_factory.mktemp("no data")),
        }
    )


@pytest.fixture(scope="session")
def run(environment):
    """Runs Python with arguments, in a folder."""

    def start(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    return start


@pytest.fixture(scope="session")
def trained(run, tmp_path_factory) -> SimpleNamespace:
    """A finished `train --output run --json printed.json`."""
    folder = tmp_path_factory.mktemp("trained")
    done = run("-m", "core_torch", *TRAIN, "--output", "run", "--json", "printed.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    return SimpleNamespace(folder=folder, done=done, metrics=metrics, checkpoint=folder / "run")


def printed(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return dict(line.split(None, 1) for line in done.stdout.splitlines())


def test_training_writes_what_the_design_promises(trained):
    metrics = trained.metrics
    assert {"test_mse", "test_sse", "jacobian_norm_squared", "seconds"} <= metrics.keys()
    assert [metrics[name] for name in ("model", "objective", "dataset")] == ["shallow", "standard", "digits"]
    assert (metrics["seed"], metrics["epochs"], metrics["parameters"]) == (0, 2, 784 * 200 * 2 + 200 + 784)
    assert metrics["test_sse"] == pytest.approx(784 * metrics["test_mse"], rel=1e-12)
    assert len(metrics["history"]["train_loss"]) == len(metrics["history"]["validation_mse"]) == 2


def test_the_reported_error_is_that_of_the_saved_weights(trained):
    from core_torch.models.autoencoder import to_reference_weights
    from core_torch.models.checkpoint import load_checkpoint
    from core_torch.parity.oracle.oracle import Oracle

    model, recipe, _ = load_checkpoint(trained.checkpoint)
    images = load_split("digits", train=False).images.reshape(-1, 784) / 255
    reported = pytest.approx(trained.metrics["test_mse"], rel=1e-6)
    weights = to_reference_weights(model)
    assert Oracle(model.architecture, weights).loss(images, images) == reported
    weights["decoder.0.bias"] += 0.01
    assert Oracle(model.architecture, weights).loss(images, images) != reported
    assert (recipe.epochs, recipe.seed) == (2, 0)


def test_the_table_and_the_json_file_say_what_metrics_json_says(trained):
    metrics = {name: value for name, value in trained.metrics.items() if name != "history"}
    assert json.loads((trained.folder / "printed.json").read_text()) == metrics
    assert printed(trained.done).keys() == metrics.keys()
    assert float(printed(trained.done)["test_mse"]) == pytest.approx(metrics["test_mse"], rel=1e-5)


def test_every_number_written_is_a_number_of_json(trained):
    def refuse(constant):
        raise AssertionError(constant)

    for path in (trained.folder / "printed.json", *trained.checkpoint.glob("*.json")):
        json.loads(path.read_text(), parse_constant=refuse)


def test_evaluating_gives_the_same_errors(trained, run):
    done = run("-m", "core_torch", "evaluate", "run", "--json", "evaluated.json", cwd=trained.folder)
    assert done.returncode == 0, done.stderr
    evaluated = json.loads((trained.folder / "evaluated.json").read_text())
    same = ("model", "objective", "dataset", "parameters", "test_mse", "test_sse", "jacobian_norm_squared")
    assert {name: evaluated[name] for name in same} == {name: trained.metrics[name] for name in same}
    assert printed(done).keys() == evaluated.keys()


HELP = [["--help"], *([command, "--help"] for command in ("train", "sweep", "evaluate", "figures", "encode", "data"))]


# Arguments, and what the line must name. Judged before a framework is imported.
MISTAKES = {
    "no command": ([], "train|sweep|evaluate|figures|encode|data"),
    "unknown command": (["tran"], "command: found 'tran' (did you mean train?)"),
    "unknown option": (["train", "--epoch", "1"], "did you mean --epochs?"),
    "too many arguments": (["train", "extra"], "extra"),
    "no checkpoint": (["evaluate"], "CHECKPOINT"),
    "option of another command": (["evaluate", "nowhere", "--epochs", "3"], "--epochs"),
    "unknown preset": (["train", "--preset", "bset"], "preset: found 'bset' (did you mean best?)"),
    "preset of another model": (["train", "--preset", "dcec"], "model: found shallow, allowed with preset dcec"),
    "unknown activation": (["train", "--code-activation", "gelu"], "code_activation: found 'gelu'"),
    "unknown hidden activation": (["train", "--hidden-activation", "Relu"], "(did you mean relu?)"),
    "unknown corruption": (
        ["train", "--objective", "denoising", "--corruption", "gausian"],
        "corruption: found 'gausian' (did you mean gaussian?)",
    ),
    "too much corruption": (
        ["train", "--objective", "denoising", "--corruption-level", "1.5"],
        "corruption_level: found 1.5",
    ),
    "corruption unused": (["train", "--corruption", "patch"], "found with standard, allowed with: denoising"),
    "penalty unused": (["train", "--contraction", "1"], "contraction: found with standard, allowed with: contractive"),
    "negative penalty": (["train", "--objective", "contractive", "--contraction", "-1"], "contraction: found -1"),
    "unknown solver": (["train", "--model", "randomized-deep", "--solver", "rigde"], "(did you mean ridge?)"),
    "solver unused": (["train", "--solver", "ridge"], "solver: found with shallow, allowed with: randomized models"),
    "pretraining unused": (["train", "--model", "conv-deep", "--pretrain"], "pretrain: found with conv-deep"),
    "recipe absent": (["train", "--recipe", "nowhere.toml"], "recipe: nowhere.toml cannot be read (No such file"),
    "recipe is a folder": (["train", "--recipe", "{cut}"], "recipe: {cut} cannot be read (Is a directory)"),
    "recipe is empty": (["train", "--recipe", ""], "recipe: an empty path"),
    "recipe is no TOML": (["train", "--recipe", "{file}"], "recipe: {file} is not TOML"),
    "recipe is no text": (["train", "--recipe", "{bytes}"], "recipe: {bytes} is not TOML"),
    "recipe with a typo": (["train", "--recipe", "{epoch = 3}"], "found 'epoch' (did you mean epochs?)"),
    "recipe with a word for a number": (["train", "--recipe", "{epochs = '3'}"], "epochs: found '3'"),
    "recipe out of range": (["train", "--recipe", "{batch_size = 0}"], "batch_size: found 0"),
    "recipe not finite": (["train", "--recipe", "{learning_rate = nan}"], "learning_rate: found nan"),
    "recipe with a table": (["train", "--recipe", "{[model]}"], "model: found {{}}"),
    "recipe with a word for a switch": (["train", "--recipe", "{pretrain = 'no'}"], "pretrain: found 'no'"),
    "recipe that contradicts itself": (["train", "--recipe", "{momentum = 0.9}"], "momentum: found 0.9 with adam"),
    "recipe with a penalty unused": (["train", "--recipe", "{contraction = 1}"], "contraction: found with standard"),
    "epochs of a closed form": (
        ["train", "--model", "randomized-shallow", "--epochs", "3"],
        "epochs: found with randomized-shallow, allowed with: solver gradient-descent",
    ),
    "batches of a closed form": (
        ["train", "--model", "randomized-deep", "--batch-size", "1", "--solver", "ridge"],
        "batch_size: found with randomized-deep",
    ),
    "optimizer of a closed form": (
        ["train", "--model", "randomized-deep", "--recipe", "{optimizer = 'sgd'}"],
        "optimizer: found with randomized-deep",
    ),
    "rate below float32": (["train", "--learning-rate", "1e-320"], "learning_rate: found 1e-320, allowed: a finite"),
    "one wrong value of a sweep": (["sweep", "--model", "shallow", "dep"], "model: found 'dep' (did you mean deep?)"),
    "the same value of a sweep twice": (["sweep", "--seed", "0", "0"], "seed: found 0 0, allowed: each value once"),
    "values that do not go together": (
        ["sweep", "--objective", "denoising", "standard", "--corruption", "gaussian", "--seed", "1", "2"],
        "allowed with: denoising; in the combination objective standard, seed 1",
    ),
    "a sweep on no device": (["sweep", "--device", "tpu"], "device: found 'tpu'"),
    "shapes that do not go together": (["sweep", "--ensemble", "--model", "shallow", "deep"], "different architecture"),
    "epochs that do not go together": (["sweep", "--ensemble", "--epochs", "1", "2"], "recipes: found ones that"),
    "a closed form together": (["sweep", "--ensemble", "--model", "randomized-deep"], "ensemble: found with rand"),
    "no value of a sweep": (["sweep", "--seed"], "--seed: expected at least one argument"),
    "two datasets in a sweep": (["sweep", "--dataset", "digits", "mnist"], "unrecognized arguments: mnist"),
    "figures of nothing": (["figures"], "CHECKPOINT"),
    "unknown map": (["figures", "nowhere", "--map", "t-sne"], "map: found 't-sne' (did you mean tsne?)"),
    "figures below a file": (["figures", "{sound}", "--output", "{file}/x"], "output: {file}/x cannot be written to"),
    "codes to nowhere": (["encode", "nowhere"], "--output"),
    "codes of unknown format": (["encode", "nowhere", "--output", "codes.csv"], "ends in .npz or .npy"),
    "codes in no folder": (["encode", "nowhere", "--output", "no/codes.npz"], "no/codes.npz cannot be written to"),
    "codes too many for a .npy": (["encode", "nowhere", "--train", "--output", "c.npy"], "allowed: with .npz"),
    "no such device anywhere": (["train", "--device", "cdua"], "device: found 'cdua' (did you mean cuda?)"),
    "a device without values": (["train", "--device", "meta", "--epochs", "1"], "device: found 'meta'"),
    "no device to draw on": (["figures", "{sound}", "--device", "tpu", "--output", "x"], "device: found 'tpu'"),
    "checkpoint absent": (["evaluate", "nowhere"], "nowhere"),
    "checkpoint without a name": (["evaluate", ""], "checkpoint: an empty path"),
    "checkpoint is a file": (["evaluate", "{file}"], "{file}"),
    "no checkpoint there": (["evaluate", "{cut}"], "{cut}"),
    "figures of no checkpoint": (["figures", "nowhere"], "nowhere"),
    "figures against no checkpoint": (["figures", "{sound}", "--against", "nowhere", "--output", "x"], "nowhere"),
    "codes of no checkpoint": (["encode", "nowhere", "--output", "codes.npz"], "nowhere"),
    "codes and their shapes in one file": (
        ["encode", "{sound}", "--output", "c.npz", "--json", "./c.npz"],
        "json: found ./c.npz",
    ),
    "json over the checkpoint": (["evaluate", "{sound}", "--json", "{sound}/manifest.json"], "which the command reads"),
    "json over its weights": (
        ["encode", "{sound}", "--output", "c.npz", "--json", "{sound}/weights.safetensors"],
        "which the command reads",
    ),
    "json over the recipe": (["train", "--recipe", "{file}", "--json", "{file}"], "{file}"),
    "no action on data": (["data"], "prepare|verify"),
    "unknown action on data": (["data", "prepar"], "action: found 'prepar' (did you mean prepare?)"),
    "data without files": (["data", "verify", "--dataset", "digits"], "dataset: found 'digits'"),
    "data that cannot be fetched": (["data", "prepare", "--data-root", "{cut}"], "is damaged and cannot be downloaded"),
    "unknown model": (["train", "--model", "shalow"], "model: found 'shalow' (did you mean shallow?)"),
    "unknown objective": (["train", "--objective", "denoise"], "objective: found 'denoise' (did you mean"),
    "unknown dataset": (["train", "--dataset", "mnits"], "dataset: found 'mnits' (did you mean mnist?)"),
    "dataset to evaluate on": (["evaluate", "nowhere", "--dataset", "mnits"], "dataset: found 'mnits'"),
    "json of an evaluation": (["evaluate", "nowhere", "--json", "{file}/x"], "{file}/x"),
    "no epochs": (["train", "--epochs", "0"], "epochs: found 0"),
    "negative epochs": (["train", "--epochs", "-1"], "epochs: found -1"),
    "epochs in words": (["train", "--epochs", "x"], "--epochs: invalid int value: 'x'"),
    "half an epoch": (["train", "--epochs", "0.5"], "--epochs: invalid int value: '0.5'"),
    "epochs without end": (["train", "--epochs", str(10**30)], "epochs: found 1000"),
    "empty batches": (["train", "--batch-size", "0"], "batch_size: found 0"),
    "negative batches": (["train", "--batch-size", "-8"], "batch_size: found -8"),
    "rate nan": (["train", "--learning-rate", "nan"], "learning_rate: found nan"),
    "rate inf": (["train", "--learning-rate", "inf"], "learning_rate: found inf"),
    "rate 0": (["train", "--learning-rate", "0"], "learning_rate: found 0"),
    "negative rate": (["train", "--learning-rate", "-1"], "learning_rate: found -1"),
    "rate in words": (["train", "--learning-rate", "fast"], "'fast'"),
    "rate beyond float32": (["train", "--learning-rate", "1e308"], "learning_rate: found 1e+308"),
    "negative seed": (["train", "--seed", "-1"], "seed: found -1"),
    "large seed": (["train", "--seed", str(2**32)], "seed: found 4294967296"),
    "output below a file": (["train", "--output", "{file}/run"], "{file}/run"),
    "output is a file": (["train", "--output", "{file}"], "{file}"),
    "output is empty": (["train", "--output", "", "--epochs", "1"], "output"),
    "json below a file": (["train", "--json", "{file}/x.json", "--epochs", "1"], "{file}/x.json"),
    "json in no folder": (["train", "--json", "nowhere/x.json", "--epochs", "1"], "nowhere/x.json"),
    "data absent": (["train", "--dataset", "mnist"], "--dataset digits"),
    "data root is a file": (["train", "--dataset", "mnist", "--data-root", "{file}"], "{file}"),
    "data cut short": (["train", "--dataset", "mnist", "--data-root", "{cut}"], "train-images-idx3-ubyte"),
}
# The same, where only the framework or the checkpoint can tell.
LATE_MISTAKES = {
    "no such device here": (["train", "--device", "cuda"], "device: found cuda"),
    "no such number of a device": (["train", "--device", "cuda:x"], "device: found cuda:x"),
    "no such device to sweep on": (["sweep", "--device", "cuda"], "device: found cuda"),
    "divergence": (["train", "--learning-rate", "1e20", "--epochs", "2"], "learning_rate"),
    "divergence at the end": (
        ["train", "--learning-rate", "1e20", "--epochs", "1", "--batch-size", "5000"],
        "learning_rate",
    ),
    "checkpoint damaged": (["evaluate", "{damaged}"], "{damaged}"),
    "codes of absent data": (
        ["encode", "{sound}", "--output", "codes.npz", "--dataset", "kmnist"],
        "dataset kmnist: ",
    ),
    "no device to evaluate on": (["evaluate", "{sound}", "--device", "cuda"], "device: found cuda"),
}


@pytest.fixture(scope="session")
def places(trained, tmp_path_factory) -> dict[str, str]:
    """Paths by the name that stands in the tables for them; only the checkpoint {sound} is of use."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "file").write_text("a regular file")
    (folder / "bytes").write_bytes(b"\xff\xfe")
    raw = folder / "cut" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(b"\x00\x00\x08")
    (folder / "damaged").mkdir()
    for path in (trained.checkpoint / name for name in ("weights.safetensors", "manifest.json")):
        (folder / "damaged" / path.name).write_bytes(path.read_bytes()[:-1] + b"\xff")
    refused = {name: str(folder / name) for name in ("file", "bytes", "cut", "damaged")}
    recipes = [part[1:-1] for mistake in MISTAKES.values() for part in mistake[0] if part[0:1] == "{" and " " in part]
    for number, content in enumerate([*recipes, "[model]"]):
        (folder / f"{number}.toml").write_text(content)
        refused[content] = str(folder / f"{number}.toml")
    return refused | {"sound": str(trained.checkpoint)}


def command_line(mistake: tuple[list[str], str], places: dict[str, str]) -> list[str]:
    """The arguments, with results asked for wherever a command can write some."""
    arguments = [re.sub("{(.+?)}", lambda name: places[name[1]], part) for part in mistake[0]]
    written = {"--output": "run", "--json": "x.json"}
    results = {"train": written, "sweep": written, "evaluate": {"--json": "x.json"}}
    for option, path in results.get(arguments[0] if arguments else "", {}).items():
        arguments += [] if option in arguments else [option, path]
    return arguments


def judge(code: int, stderr: str, *, named: str, folder: Path) -> None:
    """One line that names the mistake, exit code 2, and nothing in the folder."""
    lines = [line for line in stderr.replace("\r", "\n").splitlines() if line and "epoch/s" not in line]
    assert code == 2, stderr
    assert len(lines) == 1, stderr
    assert lines[0].startswith("python -m core_torch") and ": error: " in lines[0]
    assert named in lines[0]
    assert list(folder.rglob("*")) == []


# Runs many command lines in one process, which imports a framework once; each in a folder of its own.
MANY = f"""
import contextlib, io, json, os, sys
from core_torch.__main__ import main
for folder, *sys.argv[1:] in json.load(sys.stdin):
    os.chdir(folder)
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            code = main()
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            code = repr(error)
    imported = sorted(set({FRAMEWORKS}) & set(sys.modules))
    print(json.dumps(dict(code=code, stderr=stderr.getvalue(), stdout=stdout.getvalue(), imported=imported)))
"""


@pytest.fixture(scope="session")
def run_many(environment):
    """Gives the code, the outputs and the frameworks imported so far of each of several [folder, *arguments]."""

    def start(lines: list[list[str]]) -> list[dict]:
        command, text = [sys.executable, "-c", MANY], json.dumps(lines)
        done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [json.loads(result) for result in done.stdout.splitlines()]

    return start


@pytest.fixture(scope="session")
def answers(run_many, places, tmp_path_factory) -> dict[str, SimpleNamespace]:
    """What each mistake is answered; those of either table in one process."""
    found = {}
    for table in (MISTAKES, LATE_MISTAKES):
        folders = [tmp_path_factory.mktemp("mistake") for _ in table]
        lines = [[str(folder), *command_line(mistake, places)] for folder, mistake in zip(folders, table.values())]
        for name, folder, answer in zip(table, folders, run_many(lines), strict=True):
            found[name] = SimpleNamespace(folder=folder, **answer)
    return found


def test_help_imports_no_framework(run_many, tmp_path):
    for answer in run_many([[str(tmp_path), *arguments] for arguments in HELP]):
        assert (answer["code"], answer["stderr"], answer["imported"]) == (0, "", [])
        assert answer["stdout"].startswith("usage: python -m core_torch")
        assert "\x1b" not in answer["stdout"]  # no colour, whatever NO_COLOR says


@pytest.mark.parametrize("mistake", [*MISTAKES, *LATE_MISTAKES])
def test_a_mistake_is_answered_in_one_line(answers, places, mistake):
    answer, named = answers[mistake], (MISTAKES | LATE_MISTAKES)[mistake][1].format(**places)
    judge(answer.code, answer.stderr, named=named, folder=answer.folder)
    assert answer.stdout == ""


def test_early_mistakes_import_no_framework_and_late_ones_do(answers):
    assert [name for name in MISTAKES if answers[name].imported] == []
    assert "torch" in answers[list(LATE_MISTAKES)[-1]].imported


def test_the_process_itself_ends_with_the_line_and_the_code(run, tmp_path):
    done = run("-m", "core_torch", "train", "--epochs", "0", "--output", "run", cwd=tmp_path)
    judge(done.returncode, done.stderr, named="epochs: found 0", folder=tmp_path)
    assert done.stdout == ""


def test_enough_mistakes_are_tried():
    assert len(MISTAKES) + len(LATE_MISTAKES) >= 60


def write_fashion_mnist(root: Path, *, count: int = 40) -> None:
    """Made-up files; only MNIST's own have a published checksum once unpacked."""
    raw, number = root / "FashionMNIST" / "raw", count.to_bytes(4, "big")
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8).tobytes()
        header = b"\x00\x00\x08\x03" + number + 2 * (28).to_bytes(4, "big")
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01" + number + bytes(count))


SHORT = ("train", "--epochs", "1", "--device", "cpu")


@pytest.fixture(scope="session")
def runs(run_many, tmp_path_factory) -> dict[str, dict]:
    """What each command wrote to its --json file, by that file's name; and the first one's metrics.json."""
    folder = tmp_path_factory.mktemp("runs")
    write_fashion_mnist(folder)
    lines = {
        "fashion": [*SHORT, "--dataset", "fashion-mnist", "--data-root", ".", "--output", "run", "--no-figures"],
        "again": ["evaluate", "run", "--data-root", "."],
        "on digits": ["evaluate", "run", "--dataset", "digits"],
        **{objective: [*SHORT, "--objective", objective] for objective in OBJECTIVES},
    }
    wrong = (["--device", "cdua"], ["--learning-rate", "1e20"])
    mistakes = [[*SHORT, "--output", "run", *options] for options in wrong]
    done = [[str(folder), *line, "--json", f"{name}.json"] for name, line in lines.items()]
    answers = run_many(done + [[str(folder), *line] for line in mistakes])
    assert [answer["code"] for answer in answers] == [0] * len(lines) + [2, 2], answers
    written = {name: json.loads((folder / f"{name}.json").read_text()) for name in lines}
    return written | {"metrics": json.loads((folder / "run" / "metrics.json").read_text())}


def test_a_checkpoint_is_judged_on_its_own_dataset_unless_told_otherwise(runs):
    assert [runs[name]["dataset"] for name in ("fashion", "again", "on digits")] == [
        "fashion-mnist",
        "fashion-mnist",
        "digits",
    ]
    assert runs["fashion"]["test_mse"] == runs["again"]["test_mse"] != runs["on digits"]["test_mse"]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trains_to_an_error_of_its_own(runs, objective):
    assert runs[objective]["objective"] == objective
    errors = [runs[name]["test_mse"] for name in OBJECTIVES]
    assert errors.count(runs[objective]["test_mse"]) == 1


def test_a_refused_run_leaves_the_results_of_an_earlier_one_alone(runs):
    runs["metrics"].pop("history")
    assert runs["metrics"] == runs["fashion"]
