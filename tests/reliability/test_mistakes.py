"""Whatever is wrong with a command line or a file: exit code 2, at most five lines, no traceback, nothing written."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.mistakes import CORPUS, PORTS, arguments, configurations, filled, places, write_corpus

ROOT = Path(__file__).parents[2]
FEW, FEW_SLOW = 60, 10  # by default; of lightning_impl, where each takes a second
MANY_SLOW = 160  # of those under stress
LEAST = 120  # of arguments and files together, when all are tried
LONGEST_LINES = 5
SECONDS_A_LINE = 5  # at the most, on average


def answers(port: str, lines: list[list[str]], folder: Path) -> list[dict]:
    """Of a process in an empty folder, without a network."""
    (folder / "here").mkdir()
    nobody = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    quiet = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "jax", "MNIST_ROOT": "none"}
    command, environment = [sys.executable, "-m", "tests.reliability.mistakes", port], os.environ | nobody | quiet
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder / "here", env=environment, **streams) as process:
        try:
            said, _ = process.communicate(json.dumps(lines), timeout=SECONDS_A_LINE * len(lines) + 120)
        except subprocess.TimeoutExpired:  # what is taken for no mistake may train for hours
            process.kill()
            said, _ = process.communicate()
    found = [json.loads(line) for line in said.splitlines()]
    assert len(found) == len(lines), f"{lines[len(found)]} ended it with {process.returncode}"
    return found


def wrong(port: str, line: list[str], answer: dict) -> str:
    """What is wrong about an answer."""
    said = answer["said"].splitlines()
    fits = answer["code"] == 2 and 1 <= len(said) <= LONGEST_LINES and not answer["left"]
    if fits and said[-1].startswith(f"python -m {port}") and "Traceback" not in answer["said"]:
        return ""
    return f"{[part[:60] for part in line]}: {answer['code']} {answer['left']} {answer['said'][-300:]}"


def try_all(port: str, lines: list[list[str]], folder: Path) -> list[str]:
    found = answers(port, lines, folder)
    return [said for line, answer in zip(lines, found, strict=True) if (said := wrong(port, line, answer))]


def made(port: str, folder: Path) -> list[list[str]]:
    known = places(folder)
    return [filled(line, known) for line in (*arguments(port), *configurations(port, folder / "files"))]


@pytest.mark.parametrize("port", PORTS)
def test_a_mistake_is_answered_in_a_line_and_writes_nothing(port, tmp_path):
    lines = made(port, tmp_path)
    few = random.Random(0).sample(lines, FEW_SLOW if port == "lightning_impl" else FEW)
    assert try_all(port, few, tmp_path) == []


def test_what_is_no_mistake_would_be_noticed(tmp_path):
    (said,) = try_all("core_torch", [["train", "--epochs", "1", "--no-figures", "--output", "run"]], tmp_path)
    assert said.startswith("['train', '--epochs', '1', '--no-figures', '--output', 'run']: 0 ['run']")


def complaints(port: str, folder: Path) -> dict[str, str]:
    """What a port says of each dataset of the corpus."""
    options = {"core_torch": ("--dataset", "--data-root"), "keras_impl": ("--dataset", "--data-root")}
    dataset, root = options.get(port, ("--data.dataset", "--data.data_root"))
    command = "fit" if port == "lightning_impl" else "train"
    lines = [[command, dataset, "fashion-mnist", root, str(folder.parent / name)] for name in CORPUS]
    found = answers(port, lines, folder)
    assert [said for line, answer in zip(lines, found) if (said := wrong(port, line, answer))] == []
    return {name: answer["said"].removeprefix(f"python -m {port}") for name, answer in zip(CORPUS, found)}


def test_every_port_says_the_same_of_a_dataset_that_is_not_right(tmp_path):
    for name in CORPUS:
        write_corpus(tmp_path / name, name)
    said = {}
    for port in ("core_torch", "keras_impl", "lightning_impl"):
        (tmp_path / port).mkdir()
        said[port] = complaints(port, tmp_path / port)
    assert said["core_torch"] == said["keras_impl"] == said["lightning_impl"]
    assert len({line.replace(name, "") for name, line in said["core_torch"].items()}) > 12


def accepted_by_torch() -> str:
    """How many rates that are none PyTorch takes."""
    import torch

    taken, rates = 0, (float("nan"), float("inf"), -1.0, 0.0, "x", None, True, 1e309)
    for rate in rates:
        try:
            torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=rate)  # type: ignore[arg-type]
            taken += 1
        except Exception:  # of whatever kind
            continue
    return f"torch.optim.Adam takes {taken} of {len(rates)} bad rates"


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("port", PORTS)
def test_every_mistake(port, tmp_path, tally):
    lines = made(port, tmp_path)
    lines = random.Random(1).sample(lines, MANY_SLOW) if port == "lightning_impl" else lines
    failed = try_all(port, lines, tmp_path)
    tally.add(f"mistakes, {port}", tried=len(lines), failed=len(failed), baseline=accepted_by_torch())
    assert failed == []
    assert len(lines) >= LEAST
