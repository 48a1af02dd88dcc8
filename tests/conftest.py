"""What tests of every folder need."""

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, for what they share; those of Keras in one, for its three backends."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder == "keras_impl" else item.path.stem))


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds the real MNIST/raw; the test is skipped where there is none."""
    root = os.environ.get("MNIST_ROOT")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip("MNIST_ROOT does not name a folder that holds MNIST/raw")
    return Path(root)
