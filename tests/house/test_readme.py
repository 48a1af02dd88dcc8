"""Every command and code block of the README works as written."""

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line for kind, block in BLOCKS if not kind for line in block.splitlines() if re.search(r"python -m \w+ \w", line)
]
GUIDES = (
    *("CONTRIBUTING.md", "core_torch/objectives/formulas.md"),
    *("benchmarks/protocol.md", "core_torch/parity/traps.md"),
)
PROSE = "\n".join([README, *((ROOT / guide).read_text() for guide in GUIDES)])
# Lightning's parser takes a second to build; tests/lightning_impl runs its command.
PARSERS = {
    "core_torch": "core_torch.__main__",
    "keras_impl": "keras_impl.commands",
    "benchmarks": "benchmarks.__main__",
}
PROGRAMS = f"python -m ({'|'.join(PARSERS)})"
INLINE = re.findall(rf"`{PROGRAMS} ([^`]+)`", PROSE)
WRITTEN = re.findall(rf"{PROGRAMS} (.+)", "\n".join(COMMANDS))
TARGETS = re.findall(r"(?:^|`)make ([\w-]+)", PROSE, re.MULTILINE)
PACKAGES = ("core_torch", "lightning_impl", "keras_impl", "benchmarks")
TREE = next(block for kind, block in BLOCKS if not kind and block.startswith("core_torch/"))


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a README command in a folder that holds nothing but what the README assumes."""
    if "DIR" in command and not os.environ.get("MNIST_ROOT"):
        pytest.skip("set MNIST_ROOT to a folder with the real MNIST files")
    command = command.replace("DIR", os.environ.get("MNIST_ROOT", ""))
    words = shlex.split(command)
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    arguments = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""} | variables
    return subprocess.run(
        [sys.executable, *arguments[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all commands, because some read what others wrote."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "lightning_impl").symlink_to(ROOT / "lightning_impl")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works_as_written(command: str, folder: Path) -> None:
    result = run(command, folder)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("program", "arguments"), INLINE + WRITTEN)
def test_a_command_is_one_that_its_program_takes(program: str, arguments: str) -> None:
    options = import_module(PARSERS[program]).build_parser().parse_args(shlex.split(arguments))
    assert options.command == arguments.split()[0]


@pytest.mark.parametrize("block", [block for kind, block in BLOCKS if kind == "python"])
def test_a_code_block_works_as_written(block: str, folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [sys.executable, "-c", block], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("file", "excerpt"), re.findall(r"in `(\S+\.py)`[^`]*```py\n(.*?)```", README, re.DOTALL))
def test_an_excerpt_is_in_its_file(file: str, excerpt: str) -> None:
    assert excerpt in (ROOT / file).read_text()


def test_the_commands_are_found() -> None:
    assert len(COMMANDS) >= 10
    assert len(WRITTEN) >= 8
    assert len(INLINE) >= 5


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert set(TARGETS) >= {"bench", "test", "docs", "stress", "setup"}
    for target in TARGETS:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def folders_of_the_tree() -> set[str]:
    """The paths that the README's tree shows: two spaces more are one level deeper."""
    parents: list[str] = []
    paths = set()
    for spaces, name in re.findall(r"^( *)([\w-]+)/", TREE, re.MULTILINE):
        parents[len(spaces) // 2 :] = [name]
        paths.add("/".join(parents))
    return paths


def test_the_tree_names_every_package_and_only_folders_that_exist() -> None:
    packages = {path.parent.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert packages <= folders_of_the_tree()
    assert all((ROOT / folder).is_dir() for folder in folders_of_the_tree())


@pytest.mark.parametrize("name", ["results", "goals", "mutants", "categories"])
def test_a_table_is_what_its_command_prints(name: str) -> None:
    marked = re.search(rf"<!-- {name}: python -m (.+?) -->\n(.*?)<!-- end of {name} -->", README, re.DOTALL)
    assert marked
    printed = subprocess.run(
        [sys.executable, "-m", *marked[1].split()], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == marked[2].strip()


def test_the_failure_shown_is_what_a_port_with_that_bug_is_told(folder: Path) -> None:
    block = next(block for kind, block in BLOCKS if kind == "python" and "class Port" in block)
    broken = block.replace("self.w[name] - self.rate *", "self.w[name] - 2 * self.rate *")
    assert broken != block
    told = subprocess.run(
        [sys.executable, "-c", broken],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    shown = next(block for kind, block in BLOCKS if not kind and "disagrees at the level" in block)
    # The allowance is a multiple of what rounding does, which differs between machines.
    assert shown.splitlines()[3] in told.stderr
    assert re.sub(r"[\d.e-]+$", "", shown.splitlines()[1]) in told.stderr
