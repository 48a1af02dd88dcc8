"""Eight processes prepare one dataset at once, and one is killed half-way: every one that is asked gets it right."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core_torch.files.atomic import ORPHAN_SECONDS
from core_torch.files.downloads import UNFINISHED
from core_torch.files.sources import SOURCES
from tests.commands.test_data_command import CONTENDER, publish, server  # noqa: F401

ROOT = Path(__file__).parents[2]
PROCESSES, ROUNDS = 8, 10


def prepare(root: Path) -> subprocess.Popen:
    source = SOURCES["mnist"]
    told = json.dumps([source.folder, source.mirrors, source.archive_md5, source.raw_md5])
    command = [sys.executable, "-c", CONTENDER, told, "data", "prepare", "--data-root", str(root)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)


def right_ones(root: Path, contents: dict[str, bytes], *, wait: float) -> int:
    """Of a round, the killed one being asked again, once what it left is old."""
    raw = root / "MNIST" / "raw"
    killed, *others = (prepare(root) for _ in range(PROCESSES))
    deadline = time.monotonic() + 60
    while not list(raw.glob(f"{UNFINISHED}*")) and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)  # until the first download is under way
    time.sleep(wait)
    killed.kill()
    killed.wait()
    right = sum(process.wait(60) == 0 for process in others)
    whole = {path.name: path.read_bytes() for path in raw.iterdir() if path.is_file()} == contents
    for path in raw.rglob("*"):
        os.utime(path, (0, time.time() - ORPHAN_SECONDS - 1))
    (raw / next(iter(contents))).unlink()  # so that there is something to fetch
    right += prepare(root).wait(60) == 0
    is_clean = {path.name: path.read_bytes() for path in raw.iterdir()} == contents
    return right if whole and is_clean else 0


def test_of_eight_processes_one_is_killed_and_all_get_it_right(publish, tmp_path):  # noqa: F811
    assert right_ones(tmp_path, publish("mnist"), wait=0.02) == PROCESSES


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_ten_rounds_of_eight_processes(publish, tmp_path, tally):  # noqa: F811
    contents, chance = publish("mnist"), random.Random(0)
    right = sum(right_ones(tmp_path / f"{n}", contents, wait=chance.uniform(0, 0.2)) for n in range(ROUNDS))
    tally.add("processes that prepare one dataset", tried=PROCESSES * ROUNDS, failed=PROCESSES * ROUNDS - right)
    assert right == PROCESSES * ROUNDS
