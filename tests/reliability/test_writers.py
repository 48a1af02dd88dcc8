"""Several processes write into one folder, each killed at random: one at a time has it, and nothing is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from core_torch.files.locks import LOCK_NAME, hold
from core_torch.files.model_folder import load_model_folder, save_model_folder
from core_torch.files.weights import load_arrays, save_arrays
from core_torch.spec.architecture import FullyConnected, parameter_shapes
from core_torch.spec.errors import CheckpointError
from core_torch.spec.recipe import Recipe

ROOT = Path(__file__).parents[2]
TRIES, FEW = 2_000, 40  # of each number of writers on each file system
SECONDS = 0.03  # until the writers of a try are killed, at the longest
VALUES = 20_000  # of an array, which takes several pages
SHAPE = FullyConnected(widths=(784, 4))
ONE = ["train", "--epochs", "2000", "--checkpoint-every", "1", "--no-figures", "--device", "cpu", "--output", "run"]


def save_state(folder: Path, number: int) -> None:
    save_arrays(folder, {"w": np.full(VALUES, number, np.float64)}, metadata={"number": number})


def load_state(folder: Path) -> int:
    arrays, manifest = load_arrays(folder)
    return manifest["number"] if (arrays["w"] == manifest["number"]).all() else -1


def save_model(folder: Path, number: int) -> None:
    weights = {name: np.full(shape, number, np.float32) for name, shape in parameter_shapes(SHAPE).items()}
    save_model_folder(folder, weights, architecture=SHAPE, recipe=Recipe(), name=str(number), dataset="digits")


def load_model(folder: Path) -> int:
    found = load_model_folder(folder)
    number = int(str(found.manifest["model"]))
    return number if all((weight == number).all() for weight in found.weights.values()) else -1


WAYS = {"a run's state": (save_state, load_state), "a model": (save_model, load_model)}


@dataclass
class Found:
    """What the tries came to.

    Attributes:
        saved: how many saves were acknowledged.
        refused: how many were refused, because another process had the folder.
        lost: how many tries left less than what was acknowledged.
        unreadable: how many tries left a folder that cannot be read.
        wrong: how many writers ended otherwise than by the kill.
    """

    saved: int = 0
    refused: int = 0
    lost: int = 0
    unreadable: int = 0
    wrong: int = 0


def write_until_killed(save: Callable[[Path, int], None], folder: Path, numbers: range, pipe: int) -> None:
    """Save one number after the other; say which was saved, and 0 for a refusal."""
    for number in numbers:
        try:
            save(folder, number)
        except CheckpointError as error:
            if "is being written to by" not in str(error) or "\n" in str(error):
                os._exit(3)
            number = 0
        os.write(pipe, number.to_bytes(8, "little"))
    os._exit(3)


def one_try(way: str, folder: Path, first: int, *, writers: int, chance: random.Random, found: Found) -> int:
    """Let writers save numbers from `first`, kill each at its own moment, and compare; return the next free number."""
    save, load = WAYS[way]
    listen, say = os.pipe()
    children = []
    for writer in range(writers):
        if (child := os.fork()) == 0:
            try:
                write_until_killed(save, folder, range(first + writer, 1 << 62, writers), say)
            finally:
                os._exit(3)
        children.append(child)
    os.close(say)
    began = time.monotonic()
    for moment, child in sorted((chance.uniform(0, SECONDS), child) for child in children):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        os.kill(child, signal.SIGKILL)
    found.wrong += sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL for child in children)
    with os.fdopen(listen, "rb") as pipe:
        said = pipe.read()
    numbers = [int.from_bytes(said[start : start + 8], "little") for start in range(0, len(said), 8)]
    saved = [number for number in numbers if number]
    found.saved += len(saved)
    found.refused += len(numbers) - len(saved)
    try:
        held = load(folder)
    except CheckpointError:
        found.unreadable += 1
        save(folder, held := max([first, *saved]))
    else:  # among the last acknowledged, or whole before its writer could say so
        is_old = held in saved[:-writers] or (saved and held < first)
        found.lost += held == -1 or bool(is_old)
    return max([held, first, *saved])


def attack(way: str, folder: Path, *, writers: int, tries: int) -> Found:
    found, chance, first = Found(), random.Random(writers), 1
    WAYS[way][0](folder, first)
    for _ in range(tries):
        first = one_try(way, folder, first + 1, writers=writers, chance=chance, found=found)
    return found


def check(found: Found) -> None:
    assert (found.lost, found.unreadable, found.wrong) == (0, 0, 0)
    assert found.saved > 0
    assert found.refused > 0


@pytest.mark.parametrize("writers", [2, 8])
@pytest.mark.parametrize("way", WAYS)
def test_writers_of_one_folder_killed_at_random_lose_nothing(way, writers, places):
    for folder in places.values():
        check(attack(way, folder / "own", writers=writers, tries=FEW // writers))


def test_writers_without_a_lock_would_be_caught(tmp_path, monkeypatch):
    from contextlib import nullcontext

    monkeypatch.setattr("core_torch.files.weights.hold", lambda folder: nullcontext(folder.mkdir(exist_ok=True)))
    found = attack("a run's state", tmp_path / "own", writers=8, tries=FEW)
    assert found.lost + found.unreadable + found.wrong > 0


@pytest.mark.stress
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("writers", [2, 8])
@pytest.mark.parametrize("way", WAYS)
def test_two_thousand_tries_on_each_file_system(way, writers, places, tally):
    for place, folder in places.items():
        found = attack(way, folder / "own", writers=writers, tries=TRIES)
        failed = found.lost + found.unreadable + found.wrong
        counts = f"{found.saved:,} saved, {found.refused:,} refused"
        tally.add(f"{writers} writers of {way} ({place})", tried=TRIES, failed=failed, baseline=counts)
        check(found)


def start_twice(folder: Path) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "core_torch", *ONE, "--resume"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    return [
        subprocess.Popen(command, cwd=folder, env=environment, stdout=quiet, stderr=pipe, text=True) for _ in range(2)
    ]


def lost_by_two(folder: Path, wait: float) -> bool:
    """Start one job twice; say whether both go on, or the state is lost once both are killed."""
    folder.mkdir()
    runs = start_twice(folder)
    deadline = time.monotonic() + 120
    while all(run.poll() is None for run in runs) and time.monotonic() < deadline:
        time.sleep(0.01)
    state = folder / "run" / "unfinished"
    while not (state / "manifest.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(wait)
    winner, refused = sorted(runs, key=lambda run: run.poll() is not None)
    winner.kill()
    winner.wait()
    said = refused.communicate(timeout=120)[1]
    winner.communicate()
    named = f"run: is being written to by process {winner.pid} since "
    if (refused.returncode, said.count("\n")) != (2, 1) or named not in said:
        return True
    return load_arrays(state)[1]["steps"] < 0


def test_the_same_job_started_twice_is_refused_once_and_loses_nothing(tmp_path):
    assert not lost_by_two(tmp_path / "0", wait=0.1)


@pytest.mark.stress
@pytest.mark.timeout(7200)
def test_the_same_job_started_twice_again_and_again(tmp_path, tally):
    chance = random.Random(0)
    failed = sum(lost_by_two(tmp_path / f"{number}", wait=chance.uniform(0, 1)) for number in range(20))
    tally.add("the same job started twice", tried=20, failed=failed)
    assert failed == 0


def test_a_refusal_names_the_holder_and_a_killed_holder_holds_nothing(tmp_path):
    command = "import sys, time; from pathlib import Path; from core_torch.files.locks import hold\n"
    command += "with hold(Path(sys.argv[1])): print(flush=True); time.sleep(100)"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}  # another one than here
    holder = subprocess.Popen(
        [sys.executable, "-c", command, str(tmp_path / "a" / "b")], env=environment, stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    with pytest.raises(CheckpointError, match=f"is being written to by process {holder.pid} since 2"):
        save_state(tmp_path / "a" / "b", 1)
    holder.kill()
    holder.communicate()
    assert (tmp_path / "a" / "b" / LOCK_NAME).exists()
    with hold(tmp_path / "a" / "b"):
        save_state(tmp_path / "a" / "b", 1)
    assert not (tmp_path / "a" / "b" / LOCK_NAME).exists()


def test_a_folder_that_stays_empty_is_removed_again(tmp_path):
    with hold(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("note", ["", "[]", '{"pid": "\\u001b[2J", "host": "h", "since": 0}', "[" * 900, "x" * 5000])
def test_whatever_a_lock_file_says_the_refusal_is_one_line(note, tmp_path):
    with hold(tmp_path):
        (tmp_path / LOCK_NAME).write_text(note)
        child = os.fork()
        if child == 0:
            try:
                save_state(tmp_path, 1)
            except CheckpointError as error:
                os._exit(0 if "is being written to by another process, allowed" in str(error) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
