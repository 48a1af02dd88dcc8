"""Every order of importing the frameworks survives behind the root conftest.py, which loads triton before TensorFlow.

Without it the process dies; tests/reference/test_import_order.py says so, and when TensorFlow has mended it.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("torch", "torchvision", "lightning", "tensorflow", "keras")
ORDERS = list(permutations(FRAMEWORKS))
SAMPLE = [
    ("tensorflow", "torchvision", "torch", "keras", "lightning"),
    ("keras", "lightning", "torchvision", "tensorflow", "torch"),
]
# Then something that each of them has to do itself.
SCRIPT = """
import runpy, sys
runpy.run_path(sys.argv[1])
for name in sys.argv[2:]:
    __import__(name)
import lightning, tensorflow, torch, torchvision
assert int(tensorflow.constant(2) + 3) == 5
weight = torch.nn.Parameter(torch.ones(2))
torch.optim.Adam([weight])
from lightning_impl.module import LitAutoencoder
LitAutoencoder("shallow")
"""


def survives(order: tuple[str, ...]) -> str:
    """What the process said where it did not."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", SCRIPT, str(ROOT / "conftest.py"), *order]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"{' '.join(order)}: {done.returncode} {done.stderr[-500:]}"


@pytest.fixture(autouse=True)
def frameworks() -> None:
    for name in FRAMEWORKS:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("order", SAMPLE, ids=" ".join)
def test_an_order_survives(order):
    assert survives(order) == ""


@pytest.mark.stress
@pytest.mark.timeout(7200)
def test_every_order_survives(tally):
    died = [said for order in ORDERS if (said := survives(order))]
    tally.add("orders of importing the frameworks", tried=len(ORDERS), failed=len(died))
    assert died == []
