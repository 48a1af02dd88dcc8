"""Every order of importing the frameworks survives behind the root conftest.py, which loads triton before TensorFlow.

Without it the process dies; tests/house/test_import_order.py says so, and when TensorFlow has mended it.

What an import does depends on what was loaded before it, in which order, and on nothing else. So orders that begin
alike share one process up to where they part, where it forks; and to import again what another has loaded is nothing.
"""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("torch", "torchvision", "lightning", "tensorflow", "keras", "torchmetrics")
ORDERS = list(permutations(FRAMEWORKS))
SAMPLE = [
    ("tensorflow", "keras", "torchmetrics", "torchvision", "torch", "lightning"),
    ("keras", "lightning", "torchvision", "tensorflow", "torch", "torchmetrics"),
]
# Prints the orders that survive, each after something that every framework has to do itself.
SCRIPT = """
import os, runpy, sys
from importlib import import_module

if sys.argv[1]:
    runpy.run_path(sys.argv[1])

def work():
    import keras, lightning, tensorflow, torch, torchmetrics, torchvision
    assert int(tensorflow.constant(2) + 3) == 5
    torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    from lightning_impl.model import LitAutoencoder
    LitAutoencoder("shallow")

def in_a_child(act, *arguments):
    if (child := os.fork()) == 0:
        act(*arguments)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)

def go_on(first, orders):
    import_module(first)
    visit(orders)

def visit(orders):
    left = {order: [name for name in names if name not in sys.modules] for order, names in orders.items()}
    for first in {names[0] for names in left.values() if names}:
        in_a_child(go_on, first, {order: names for order, names in left.items() if names[:1] == [first]})
    if ended := [order for order, names in left.items() if not names]:
        in_a_child(lambda: (work(), print(*ended, sep="\\n")))

visit({line.strip(): line.split() for line in sys.stdin})
"""


def died(orders: list[tuple[str, ...]], *, guard: Path | str = ROOT / "conftest.py") -> list[str]:
    """The orders that did not survive."""
    lines = [" ".join(order) for order in orders]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", SCRIPT, str(guard)]
    done = subprocess.run(command, env=environment, input="\n".join(lines), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return sorted(set(lines) - set(done.stdout.splitlines()))


@pytest.fixture(autouse=True)
def frameworks() -> None:
    for name in FRAMEWORKS:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


def test_orders_survive():
    assert died(SAMPLE) == []


def test_without_the_guard_one_dies():
    if died(SAMPLE[:1], guard="") == []:
        pytest.skip("TensorFlow before triton survives by now: the guard in conftest.py can go")


@pytest.mark.slow
def test_that_processes_share_their_beginning_makes_no_difference():
    for order in random.Random(0).sample(ORDERS, 4):
        assert died([order]) == []


@pytest.mark.stress
@pytest.mark.timeout(7200)
def test_every_order_survives(tally):
    halves = [ORDERS[: len(ORDERS) // 2], ORDERS[len(ORDERS) // 2 :]]  # which begin with three of them each
    with ThreadPoolExecutor() as pool:
        dead = sum(pool.map(died, halves), [])
        bare = sum(pool.map(partial(died, guard=""), halves), [])
    baseline = f"without the guard: {len(bare)} of {len(ORDERS)} die"
    tally.add("orders of importing the frameworks", tried=len(ORDERS), failed=len(dead), baseline=baseline)
    assert dead == []
    assert bare
