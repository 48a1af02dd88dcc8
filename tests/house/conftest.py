"""The wheel, and environments with it."""

from pathlib import Path

import pytest

from core_torch.spec.extras import DISTRIBUTION
from tests.house.installation import Installation, build


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"), target="wheel")


@pytest.fixture(scope="session")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The package without any extra, beside the user's pytest."""
    folder = tmp_path_factory.mktemp("base") / "environment"
    return Installation(folder, wheel=wheel, requirement=DISTRIBUTION, beside=("pytest",))


@pytest.fixture(scope="session")
def with_torch(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The package with the extra `torch` alone."""
    folder = tmp_path_factory.mktemp("with_torch") / "environment"
    return Installation(folder, wheel=wheel, requirement=f"{DISTRIBUTION}[torch]")
