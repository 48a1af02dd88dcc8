"""Install the wheel where nothing else of this repository is.

An environment holds links to what pip would install for a requirement, taken from what is installed here. So it is
made in a second, asks no network, and lacks what the requirement does not name.
"""

import os
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from core_torch.spec.extras import DISTRIBUTION

ROOT = Path(__file__).parents[2]
# They would let a process find this checkout, or run other tests than those it is given.
UNSET = ("EAGER_IMPORT", "KERAS_BACKEND", "MYPYPATH", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTHONPATH", "VIRTUAL_ENV")


class Installation:
    """An environment of its own with the wheel in it.

    Args:
        folder: that does not exist yet.
        requirement: such as "autoencoder-reference[torch]".
        beside: what else the user has installed.
    """

    def __init__(self, folder: Path, *, wheel: Path, requirement: str, beside: tuple[str, ...] = ()) -> None:
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        (self.site,) = folder.glob("lib/python*/site-packages")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        subprocess.run([*pip, "--target", self.site, wheel], check=True)
        for other in needed([requirement, *beside], ours=self.site).values():
            link(other, into=self.site)

    def run(self, *arguments: str | Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """`python ARGUMENTS` in a folder."""
        environment = {name: value for name, value in os.environ.items() if name not in UNSET} | variables
        command = [self.python, *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def build(folder: Path, *, target: str) -> Path:
    """Build the wheel or the sdist of this checkout into an empty folder."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


def needed(requirements: list[str], *, ours: Path) -> dict[str, Distribution]:
    """{name: distribution} that pip would install beside ours, which lies in the folder `ours`."""
    (mine,) = distributions(name=DISTRIBUTION, path=[str(ours)])
    found: dict[str, Distribution] = {DISTRIBUTION: mine}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        found[name] = found.get(name) or distribution(name)
        for extra in {"", *requirement.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            inner = map(Requirement, found[name].requires or ())
            waiting += [each for each in inner if each.marker is None or each.marker.evaluate({"extra": extra})]
    return {name: each for name, each in found.items() if name != DISTRIBUTION}


def link(other: Distribution, *, into: Path) -> None:
    """Link a distribution's packages and its metadata into a folder."""
    for name in {file.parts[0] for file in other.files or ()} - {"..", "__pycache__"}:
        if not (into / name).exists():
            (into / name).symlink_to(Path(str(other.locate_file(name))))
