"""`python -m core_torch train --checkpoint-every N`, ended by a signal, goes on with `--resume` to the same files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import core_torch
from core_torch.files.locks import LOCK_NAME
from core_torch.files.weights import MANIFEST_NAME, load_arrays

ROOT = Path(core_torch.__file__).parents[1]
TRAIN = "train --epochs 12 --objective denoising --device cpu --no-figures --output run".split()
KEPT = ("--checkpoint-every", "4")
PATIENCE_SECONDS = 120
# Imports PyTorch once, and forks for each command line: [folder, log, *arguments].
SERVER = """
import json, os, sys
import core_torch.models.checkpoint, core_torch.commands.train, core_torch.evaluation.report
import core_torch.training.layer_by_layer.randomized
import torch
from core_torch.__main__ import main
torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # which imports a compiler
for line in sys.stdin:
    folder, log, *sys.argv[1:] = json.loads(line)
    if (child := os.fork()) == 0:
        os.chdir(folder)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull if stream == 1 else log, os.O_WRONLY | os.O_CREAT), stream)
        try:
            main()
        except SystemExit as end:
            os._exit(end.code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Run:
    """A command line in a process of its own."""

    def __init__(self, server: subprocess.Popen, *options: str, cwd: Path) -> None:
        self.server, self.log = server, cwd.with_suffix(".log")
        self.log.unlink(missing_ok=True)
        print(json.dumps([str(cwd), str(self.log), *TRAIN, *options]), file=server.stdin, flush=True)
        self.pid = int(server.stdout.readline())

    def end(self) -> tuple[int, str]:
        """The exit code, and what was said on standard error."""
        return int(self.server.stdout.readline()), self.log.read_text()


@pytest.fixture(scope="module")
def start():
    """Starts a `Run`, one at a time."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command, pipe = [sys.executable, "-c", SERVER], subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as server:
        yield partial(Run, server)
        server.stdin.close()


def cut_short(run: Run, number: int, *, cwd: Path) -> Path:
    """Send the signal once the run has saved something; the folder of what it saved."""
    unfinished, deadline = cwd / "run" / "unfinished", time.monotonic() + PATIENCE_SECONDS
    while not (unfinished / MANIFEST_NAME).exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(run.pid, number)
    return unfinished


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory) -> dict[str, bytes]:
    """What a run that nothing disturbs leaves."""
    folder = tmp_path_factory.mktemp("whole")
    assert start(cwd=folder).end() == (0, "")
    return results(folder)


def results(folder: Path) -> dict[str, bytes]:
    names = ("weights.safetensors", "manifest.json", "recipe.toml")
    assert sorted(path.name for path in (folder / "run").iterdir()) == sorted([*names, "history.csv", "metrics.json"])
    curves = [line.rpartition(b",")[0] for line in (folder / "run" / "history.csv").read_bytes().splitlines()]
    return {name: (folder / "run" / name).read_bytes() for name in names} | {"history": b"\n".join(curves)}


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "python -m core_torch: interrupted\n"),
        (signal.SIGTERM, 143, "python -m core_torch: terminated\n"),
        (signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
def test_a_run_that_a_signal_ends_goes_on_to_the_same_files(start, tmp_path, whole, number, code, said):
    run = start(*KEPT, cwd=tmp_path)
    unfinished = cut_short(run, number, cwd=tmp_path)
    assert run.end() == (code, said)
    before = load_arrays(unfinished)[1]
    assert before["epoch"] < 12
    assert {path.name for path in (tmp_path / "run").iterdir()} - {LOCK_NAME} == {"unfinished"}
    refused = "python -m core_torch: error: output: run holds an unfinished run, allowed: with --resume\n"
    assert start(*KEPT, cwd=tmp_path).end() == (2, refused)
    assert load_arrays(unfinished)[1] == before
    assert start(*KEPT, "--resume", cwd=tmp_path).end() == (0, "")
    assert results(tmp_path) == whole


def test_another_seed_does_not_go_on_and_is_not_the_same(start, tmp_path, whole):
    run = start(*KEPT, "--seed", "1", cwd=tmp_path)
    cut_short(run, signal.SIGKILL, cwd=tmp_path)
    run.end()
    code, said = start(*KEPT, "--resume", cwd=tmp_path).end()
    assert (code, said.count("\n")) == (2, 1)
    assert "recipe.seed: found 1, expected 0" in said
    assert start(*KEPT, "--seed", "1", "--resume", cwd=tmp_path).end() == (0, "")
    assert results(tmp_path) != whole


def test_pretraining_is_not_repeated(start, tmp_path, whole):
    options = (*KEPT, "--model", "deep", "--pretrain", "--epochs", "2")
    run = start(*options, cwd=tmp_path)
    cut_short(run, signal.SIGTERM, cwd=tmp_path)
    assert run.end()[0] == 143
    code, said = start(*options, "--no-pretrain", "--resume", cwd=tmp_path).end()
    assert (code, "pretrained: found True, expected False" in said) == (2, True)
    assert start(*options, "--resume", cwd=tmp_path).end() == (0, "")
    resumed = results(tmp_path)
    shutil.rmtree(tmp_path / "run")
    assert start(*options, cwd=tmp_path).end() == (0, "")
    assert results(tmp_path) == resumed != whole


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--resume", "resume: found without --checkpoint-every"),
        ("--checkpoint-every 0", "checkpoint_every: found 0"),
        ("--checkpoint-every x", "invalid int value: 'x'"),
        ("--checkpoint-every 5 --model randomized-deep --solver gradient-descent", "found with randomized-deep"),
    ],
)
def test_options_that_cannot_be_are_refused(start, tmp_path, options, named):
    code, said = start(*options.split(), cwd=tmp_path).end()
    assert (code, said.count("\n")) == (2, 1)
    assert named in said
    assert list(tmp_path.iterdir()) == []
