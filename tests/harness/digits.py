"""What the tests of reproduced tables share: the digits in the place of MNIST, and a stored run made again."""

import os
from pathlib import Path

import pytest

from benchmarks.reproduce.runs import NAME, read_runs, run_one
from benchmarks.reproduce.table import Data
from core_torch.contract.pixels import load_split

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


class Digits(Data):
    """The embedded digits, split as MNIST is."""

    def __init__(self) -> None:
        self.root, self.device = None, "cpu"
        self.whole, self.test = load_split("digits"), load_split("digits", train=False)


def stored_and_again(table: str, row: str) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics of a row with seed 0: of its newest published run, and of one now; skips if either cannot be."""
    root = os.environ.get("MNIST_ROOT")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip("MNIST_ROOT does not name a folder that holds MNIST/raw")
    runs = [run for path in sorted(RESULTS.glob(f"*/{NAME}")) for run in read_runs(path.parent)[0]]
    stored = [run for run in runs if run.key == (table, row, 0)]
    if not stored:
        pytest.skip(f"no published result has the row {row!r} of {table}")
    return stored[-1].metrics, run_one(table, row, 0, root=root, device="cpu").metrics
