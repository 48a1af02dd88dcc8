"""A signal in the middle of an epoch of a port: the code says so, what was saved is whole, nobody is left."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from core_torch.files.weights import load_arrays
from core_torch.spec.errors import CheckpointError
from lightning_impl.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 240  # for two processes to import a framework, on a busy machine
ORPHAN_SECONDS = 5
SAVER = "lightning.pytorch.callbacks.ModelCheckpoint"
FIT = (
    "fit --trainer.accelerator cpu --trainer.devices 2 --trainer.strategy ddp --trainer.max_epochs 100000"
    " --trainer.enable_progress_bar false --trainer.enable_model_summary false --trainer.default_root_dir ."
    f" --trainer.enable_checkpointing true --trainer.callbacks+={SAVER} --trainer.callbacks.every_n_train_steps 5"
    " --model.batch_size 64 --output run"
)
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def marked(mark: str) -> list[int]:
    """The processes with this in their environment, which children inherit."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:  # gone meanwhile
            continue
    return found


def interrupted(folder: Path, number: int, *, all_of_them: bool, command: list[str], wait: float) -> str:
    """What is wrong about how a run ends after the signal, sent to the first process or to all of its group."""
    mark = uuid4().hex
    variables = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MARK": mark}
    addresses = {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | variables | addresses
    process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **streams)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not list(folder.rglob("*.ckpt")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "nothing was saved"
            time.sleep(0.01)
        time.sleep(wait)
        assert len(marked(mark)) == 2
        (os.killpg if all_of_them else os.kill)(process.pid, number)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
        deadline = time.monotonic() + ORPHAN_SECONDS
        while marked(mark) and time.monotonic() < deadline:
            time.sleep(0.05)
        return judged(folder, number, code=process.returncode, said=said, orphans=marked(mark))
    except subprocess.TimeoutExpired:
        return "does not end"
    finally:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def judged(folder: Path, number: int, *, code: int, said: str, orphans: list[int]) -> str:
    line = f"python -m lightning_impl: {SAID[number]}"  # of one process or of both, at the same time
    own = "".join(text for text in said.splitlines() if "[c10d]" not in text)  # which wonders at a host without a name
    if code != CODES[number] or own not in (line, line + line):
        return f"exit {code}: {said[-500:]}"
    if orphans or (folder / "run").exists():
        return f"leaves {orphans or 'results'}"
    try:
        return "" if [read_checkpoint(path) for path in folder.rglob("*.ckpt")] else "nothing was kept"
    except CheckpointError as error:
        return str(error)


OURS = [sys.executable, "-m", "lightning_impl", *FIT.split()]
# The same by Lightning alone, whose code is 1.
LIGHTNINGS = """
import lightning as L
from lightning_impl.data import MNISTDataModule
from lightning_impl.model import LitAutoencoder

saver = L.pytorch.callbacks.ModelCheckpoint(every_n_train_steps=5)
trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=100000, default_root_dir=".", logger=False,
    enable_progress_bar=False, enable_model_summary=False, callbacks=[saver])
trainer.fit(LitAutoencoder("shallow"), datamodule=MNISTDataModule(batch_size=64))
"""


def asks_in_vain() -> bool:
    """Whether a name server is asked for names of this host and none answers: gloo then ends late, or not at all."""
    try:
        socket.getnameinfo(("::ffff:127.0.0.1", 0), socket.NI_NAMEREQD)
    except socket.gaierror as error:
        return error.errno == socket.EAI_AGAIN
    return False


@pytest.mark.skipif(asks_in_vain(), reason="no name server answers, for which gloo waits")
@pytest.mark.parametrize("number", CODES)
def test_two_processes_end_together_and_say_so(tmp_path, number):
    assert interrupted(tmp_path, number, all_of_them=True, command=OURS, wait=0.2) == ""


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_twenty_runs_of_two_processes_are_ended(tmp_path, tally):
    chance, failed, tried = random.Random(0), [], 0
    for number in CODES:
        for all_of_them in (True, False):
            for attempt in range(5):
                folder = tmp_path / f"{number} {all_of_them} {attempt}"
                folder.mkdir()
                wait, tried = chance.uniform(0, 1), tried + 1
                found = interrupted(folder, number, all_of_them=all_of_them, command=OURS, wait=wait)
                failed += [found] * bool(found)
    (tmp_path / "lightning").mkdir()
    (tmp_path / "lightning" / "fit.py").write_text(LIGHTNINGS)
    alone = [sys.executable, "fit.py"]
    others = interrupted(tmp_path / "lightning", signal.SIGTERM, all_of_them=True, command=alone, wait=0.5)
    baseline = f"Lightning alone, SIGTERM to both: {others.splitlines()[0]}"
    tally.add("signals to two processes in an epoch", tried=tried, failed=len(failed), baseline=baseline)
    assert failed == []


KERAS = "-m keras_impl train --epochs 100000 --batch-size 512 --backup backup --output run"


def keras_interrupted(folder: Path, backend: str, number: int, *, wait: float = 0.0) -> str:
    """What is wrong about how the command ends after the signal, or about the backup it leaves."""
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""}
    command, deadline = [sys.executable, *KERAS.split()], time.monotonic() + PATIENCE_SECONDS
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        while not list(folder.rglob("backup*/*.safetensors")) and process.poll() is None:
            assert time.monotonic() < deadline, "nothing was saved"
            time.sleep(0.01)
        time.sleep(wait)
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    line = f"python -m keras_impl: {SAID[number]}\n"  # the last, after TensorFlow's own log
    if process.returncode != CODES[number] or not said.endswith(line) or "Traceback" in said:
        return f"exit {process.returncode}: {said[-500:]}"
    if (folder / "run").exists():
        return "leaves results"
    [found] = folder.rglob("backup*/manifest.json")
    arrays, manifest = load_arrays(found.parent)
    return "" if arrays and manifest else "nothing was kept"


def test_keras_ends_and_says_so(tmp_path):
    assert keras_interrupted(tmp_path / "here", "jax", signal.SIGTERM, wait=0.2) == ""


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_keras_on_every_backend_is_ended(tmp_path, tally):
    chance, failed, tried = random.Random(0), [], 0
    for backend in ("tensorflow", "jax", "torch"):
        for number in (*CODES, *CODES):
            found = keras_interrupted(tmp_path / str(tried), backend, number, wait=chance.uniform(0, 1))
            failed, tried = failed + [found] * bool(found), tried + 1
    tally.add("signals to Keras in an epoch, on three backends", tried=tried, failed=len(failed))
    assert failed == []
