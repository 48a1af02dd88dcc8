"""What tests of every folder need."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds the real MNIST/raw; the test is skipped where there is none."""
    root = os.environ.get("MNIST_ROOT")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip("MNIST_ROOT does not name a folder that holds MNIST/raw")
    return Path(root)
