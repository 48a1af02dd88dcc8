"""Nothing needs a network or a home: the main commands ask for neither, and the suite passes without them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Python reads this module at its start. Whatever leaves the machine is written down, then refused.
SITECUSTOMIZE = """
import os, sys

HERE = ("127.0.0.1", "::1", "localhost", "", None, b"localhost", b"127.0.0.1")
ASKS = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}

def refuse(event, arguments):
    if event not in ASKS:
        return
    asked = arguments[ASKS[event]]
    host = asked[0] if isinstance(asked, tuple) else asked
    if host in HERE or isinstance(asked, (str, bytes)) and event == "socket.connect":  # the last is of a file
        return
    with open(os.environ["ASKED"], "a") as file:
        print(event, host, *sys.argv, file=file)
    raise OSError(101, "Network is unreachable")

sys.addaudithook(refuse)
"""
SHORT = "--epochs 1 --batch-size 256"
COMMANDS = {
    "core_torch": f"-m core_torch train {SHORT} --output run",
    "core_torch, again": "-m core_torch evaluate run",
    "keras on jax": f"-m keras_impl train {SHORT} --output keras",
    "keras, of another port": "-m keras_impl evaluate run",
    "lightning": "-m lightning_impl fit --trainer.max_epochs 1 --trainer.accelerator cpu --output lightning",
    "a worker of the benchmark": "-m core_torch.parity check --steps 1 shallow-standard core_torch",
    "the tables of a run": f"-m benchmarks markdown {ROOT}/benchmarks/published/2026-11-23-mnist-cpu/results.json",
}
ASKING = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"


@pytest.fixture
def run(tmp_path):
    """Runs Python without a network, in a home that is a file; (exit code, what was said, what it asked for)."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    (tmp_path / "home").write_text("not a folder")
    (tmp_path / "here").mkdir()
    private = re.compile(r"^(XDG_|MPLCONFIGDIR|KERAS_HOME|TORCH_HOME|MNIST_ROOT|.*proxy)", re.IGNORECASE)
    environment = {name: value for name, value in os.environ.items() if not private.match(name)} | {
        "HOME": str(tmp_path / "home"),
        "ASKED": str(tmp_path / "asked"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)]),
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }

    def start(*arguments: str) -> tuple[int, str, str]:
        (tmp_path / "asked").write_text("")
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True)
        return done.returncode, done.stderr, (tmp_path / "asked").read_text()

    return start


def test_the_main_commands_ask_for_no_network_and_no_home(run, tmp_path):
    for name, line in COMMANDS.items():
        code, said, asked = run(*line.split())
        assert (code, asked) == (0, ""), f"{name}: {said}"
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["keras", "lightning", "run"]


def test_a_command_that_asked_would_be_noticed(run):
    code, said, asked = run("-c", ASKING)
    assert (code, asked) == (1, "socket.getaddrinfo 192.0.2.1 -c\n")
    assert "Network is unreachable" in said


def test_a_dataset_that_is_not_there_is_asked_for_and_named(run):
    code, said, asked = run("-m", "core_torch", "train", "--dataset", "mnist")
    assert (code, said.count("\n")) == (2, 1)
    assert "use --dataset digits, which needs no files" in said
    assert "socket.getaddrinfo" in asked


# A name space without a network but loopback, in which the home cannot be written to: whatever language asks.
ISOLATED = """
ip link set lo up && mount --bind "$HOME" "$HOME" && mount -o remount,ro,bind "$HOME" || exit 99
exec "$@"
"""
REACHES_OUT = """
import os, socket
from pathlib import Path
for act in (lambda: socket.create_connection(("192.0.2.1", 80), timeout=1), (Path.home() / "x").touch):
    try:
        act()
    except OSError:
        continue
    raise SystemExit("not isolated")
"""


@pytest.mark.stress
@pytest.mark.timeout(7200)
def test_the_suite_passes_offline(tally):
    isolate = ["unshare", "--net", "--mount", "bash", "-c", ISOLATED, "bash", sys.executable]
    if not shutil.which("unshare") or subprocess.run([*isolate, "-c", REACHES_OUT], capture_output=True).returncode:
        pytest.skip("this system makes no such name space for this user")
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    command = [*isolate, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    *_, last = done.stdout.strip().splitlines()
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", last)}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    tally.add("tests without network and home", tried=counts.get("passed", 0) + failed, failed=failed)
    assert (done.returncode, failed) == (0, 0), done.stdout[-8000:]
