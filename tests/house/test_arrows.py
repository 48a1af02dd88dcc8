"""Who may import whom, read from the source: a file imports only from its own stage or an earlier one."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
STAGES = ("spec", "files", "parity", "data", "models", "objectives", "training", "evaluation", "commands")
# In `benchmarks`: rooms and files; all others come last and may import each of these.
BENCHMARK_STAGES = ("ports", "loaders", "timing", "suites", "report", "papers")
WITHOUT_FRAMEWORK = ("spec", "files", "parity")
# What each package may import of this repository.
ALLOWED = {
    "core_torch": ("core_torch",),
    "lightning_impl": ("lightning_impl", "core_torch"),
    "keras_impl": (
        "keras_impl",
        "core_torch.spec",
        "core_torch.files",
        "core_torch.commands.command_line",
        "core_torch.commands.train_options",
    ),
    "benchmarks": ("benchmarks", "core_torch", "lightning_impl", "keras_impl"),
}
# Beside the standard library; of safetensors only what loads no framework.
STAGES_WITHOUT_FRAMEWORK_MAY_IMPORT = (
    "core_torch",
    "filelock",
    "lazy_loader",
    "numpy",
    "safetensors.numpy",
    "safetensors.SafetensorError",
)
# What a file may import inside a function only, so that importing the file does not load it.
ON_FIRST_USE = {
    "core_torch/files/fetch.py": ("requests", "urllib3"),
    "core_torch/files/event_files.py": ("tensorboardX",),
    "core_torch/files/page.py": ("jinja2",),
}
FOR_PYTEST = ("core_torch/parity/plugin.py", "core_torch/parity/pytest_levels.py")
PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
# The only value with which these arguments may be written.
SAFE_ARGUMENTS = {"allow_pickle": False, "weights_only": True, "safe_mode": True}


def imported_names(tree: ast.Module, path: str) -> Iterator[str]:
    """Every imported name in full, at any depth of the file: `from a.b import c` is a.b.c."""
    folders = PurePosixPath(path).parent.parts
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module, names, level):
                base = [*folders[: len(folders) - level + 1]] if level else []
                base += [module] if module else []
                yield from (".".join([*base, alias.name]) for alias in names)
            case ast.Call(ast.Name("import_module" | "__import__") | ast.Attribute(attr="import_module"), arguments):
                yield from (name.value for name in arguments[:1] if isinstance(name, ast.Constant))


def names_loaded_by_import(tree: ast.Module, path: str) -> set[str]:
    """The names that importing the file imports: those outside functions."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = [name for function in functions for name in imported_names(ast.Module(function.body, []), path)]
    found = list(imported_names(tree, path))
    return {name for name in found if found.count(name) > inside.count(name)}


def is_within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def wrong_imports(tree: ast.Module, path: str) -> Iterator[str]:
    package, *inner = PurePosixPath(path).parts
    is_entry_point = inner[-1] == "__main__.py"
    stage = inner[0] if package == "core_torch" and len(inner) > 1 and not is_entry_point else None
    if stage is not None and stage not in STAGES:
        yield f"lies in no known stage ({', '.join(STAGES)})"
        return
    for name in imported_names(tree, path):
        top, _, rest = name.partition(".")
        if top in ALLOWED and not any(is_within(name, allowed) for allowed in ALLOWED[package]):
            yield f"imports {name}, allowed: {', '.join(ALLOWED[package])}"
        if stage is not None and top == "core_torch":
            before = STAGES[: STAGES.index(stage) + 1]
            if rest.partition(".")[0] not in before:
                yield f"imports {name}, allowed: the stages {', '.join(before)}"
        room = inner[0].removesuffix(".py")
        if package == top == "benchmarks" and room in BENCHMARK_STAGES:
            before = BENCHMARK_STAGES[: BENCHMARK_STAGES.index(room) + 1]
            if rest.partition(".")[0] not in before:
                yield f"imports {name}, allowed: the stages {', '.join(before)}"
        is_allowed = top in sys.stdlib_module_names or any(
            is_within(name, other) for other in STAGES_WITHOUT_FRAMEWORK_MAY_IMPORT
        )
        is_adapter = inner[:2] == ["parity", "adapters"]
        is_late = top in ON_FIRST_USE.get(path, ()) and name not in names_loaded_by_import(tree, path)
        is_plugin = path in FOR_PYTEST and top == "pytest"
        if stage in WITHOUT_FRAMEWORK and not (is_allowed or is_adapter or is_late or is_plugin):
            yield f"imports {name}, allowed: the standard library and {', '.join(STAGES_WITHOUT_FRAMEWORK_MAY_IMPORT)}"


def unsafe_loads(tree: ast.Module, path: str) -> Iterator[str]:
    for name in imported_names(tree, path):
        if name.partition(".")[0] in PICKLES:
            yield f"imports {name}: nothing is ever pickled"
        if is_within(name, "torch") and name.endswith(".load"):
            yield f"imports {name} by name: write torch.load(..., weights_only=True)"
    torch_names = {"torch"} | {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if is_within(getattr(node, "module", None) or alias.name, "torch")
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in PICKLES:
            yield f"line {node.lineno}: uses {node.attr}"
        if isinstance(node, ast.Call):
            yield from (f"line {node.lineno}: {fault}" for fault in unsafe_call(node, torch_names))


def unsafe_call(node: ast.Call, torch_names: set[str]) -> Iterator[str]:
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    for name, safe in SAFE_ARGUMENTS.items():
        if name in given and not (isinstance(given[name], ast.Constant) and given[name].value is safe):
            yield f"{name} is not {safe}"
    owner, *_, function = ast.unparse(node.func).split(".") * 2
    if owner in torch_names and function == "load" and "weights_only" not in given:
        yield f"{ast.unparse(node.func)} without weights_only=True"


def violations(path: str, source: str) -> list[str]:
    """What is wrong with a file, `path` being relative to the repository's root."""
    tree = ast.parse(source)
    return [f"{path}: {fault}" for rule in (wrong_imports, unsafe_loads) for fault in rule(tree, path)]


def library_files() -> list[str]:
    return sorted(file.relative_to(ROOT).as_posix() for package in ALLOWED for file in (ROOT / package).rglob("*.py"))


def test_the_arrows_hold_in_every_file():
    files = library_files()
    assert "core_torch/parity/oracle/network.py" in files
    assert [fault for path in files for fault in violations(path, (ROOT / path).read_text())] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core_torch/files/splits.py", "import torch"),
        ("core_torch/files/splits.py", "from scipy.linalg import solve"),
        ("core_torch/files/splits.py", "from core_torch.data.resident import FastMNIST"),
        ("core_torch/files/splits.py", "def late():\n    import keras"),
        ("core_torch/files/splits.py", "if TYPE_CHECKING:\n    from torch import Tensor"),
        ("core_torch/files/splits.py", "from ..data import resident"),
        ("core_torch/files/splits.py", "from .. import models"),
        ("core_torch/files/weights.py", "from safetensors.torch import load"),
        ("core_torch/files/fetch.py", "import requests"),
        ("core_torch/files/fetch.py", "class Source:\n    import requests"),
        ("core_torch/files/splits.py", "def late():\n    import requests"),
        ("core_torch/spec/recipe.py", "def late():\n    from tensorboardX import SummaryWriter"),
        ("core_torch/data/resident.py", "import core_torch.models.autoencoder"),
        ("core_torch/data/resident.py", "from core_torch import evaluation"),
        ("core_torch/data/resident.py", "from core_torch import FastMNIST"),
        ("core_torch/data/resident.py", "import core_torch"),
        ("core_torch/data/resident.py", "importlib.import_module('core_torch.training.loop')"),
        ("core_torch/models/layers.py", "from core_torch.objectives import contractive"),
        ("core_torch/objectives/contractive.py", "from core_torch.training.loop import train"),
        ("core_torch/training/loop.py", "from core_torch.evaluation import probe"),
        ("core_torch/training/loop.py", "from core_torch.commands.run_folder import RunFolder"),
        ("core_torch/utilities/all.py", "import os"),
        ("core_torch/models/checkpoint.py", "import benchmarks.ports.frameworks"),
        ("core_torch/__main__.py", "from lightning_impl.model import Module"),
        ("lightning_impl/model.py", "import keras_impl"),
        ("lightning_impl/model.py", "from benchmarks import agreement"),
        ("keras_impl/model.py", "from core_torch.models.autoencoder import Autoencoder"),
        ("keras_impl/model.py", "from core_torch import models"),
        ("keras_impl/model.py", "import core_torch.specive"),
        ("keras_impl/model.py", "from lightning_impl import model"),
        ("keras_impl/model.py", "from benchmarks.ports.timed_port import Case"),
        ("benchmarks/ports/worker.py", "import pickle"),
        ("benchmarks/ports/worker.py", "from benchmarks.timing.intervals import interval"),
        ("benchmarks/ports/core_torch.py", "from benchmarks.loaders import loading"),
        ("benchmarks/timing/session.py", "from benchmarks.report.results_file import Results"),
        ("benchmarks/suites.py", "from benchmarks.report.goals import GOALS"),
        ("benchmarks/report/page.py", "from benchmarks import runner"),
        ("core_torch/models/checkpoint.py", "from pickle import loads"),
        ("core_torch/models/checkpoint.py", "torch.serialization.pickle.loads(data)"),
        ("core_torch/models/checkpoint.py", "torch.load(path)"),
        ("core_torch/models/checkpoint.py", "torch.load(path, weights_only=False)"),
        ("core_torch/models/checkpoint.py", "torch.load(path, weights_only=safe)"),
        ("core_torch/models/checkpoint.py", "import torch as t\nt.load(path)"),
        ("core_torch/models/checkpoint.py", "from torch import load"),
        ("core_torch/models/checkpoint.py", "from torch import serialization\nserialization.load(path)"),
        ("core_torch/models/checkpoint.py", "torch.jit.load(path)"),
        ("core_torch/files/splits.py", "np.load(path, allow_pickle=True)"),
        ("keras_impl/model.py", "keras.saving.load_model(path, safe_mode=False)"),
    ],
)
def test_a_forbidden_line_is_found(path, source):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "core_torch/files/splits.py",
            "import gzip, numpy as np\nfrom core_torch.files.idx import read_idx",
        ),
        ("core_torch/files/splits.py", "from .idx import read_idx\nfrom . import sources"),
        ("core_torch/files/fetch.py", "import filelock\ndef fetch():\n    import requests"),
        ("core_torch/files/event_files.py", "def open():\n    from tensorboardX import SummaryWriter"),
        ("core_torch/files/weights.py", "from safetensors.numpy import load"),
        ("core_torch/data/resident.py", "import torch\nfrom core_torch.spec import pixels"),
        (
            "core_torch/data/resident.py",
            "from core_torch.data.corruption import Corruption\nfrom ..files import idx",
        ),
        ("core_torch/evaluation/probe.py", "from core_torch.training.loop import train\nimport sklearn"),
        ("core_torch/__init__.py", "importlib.import_module('core_torch.evaluation.probe')"),
        ("core_torch/__init__.py", "importlib.import_module(f'core_torch.{home}')"),
        ("core_torch/__main__.py", "from core_torch.evaluation import probe\nimport core_torch.models.checkpoint"),
        (
            "core_torch/models/checkpoint.py",
            "import core_torch.models.autoencoder\ntorch.load(path, weights_only=True)",
        ),
        (
            "lightning_impl/model.py",
            "import core_torch\nfrom core_torch.training import loop\nimport lightning",
        ),
        ("keras_impl/model.py", "import keras\nfrom core_torch.spec.recipe import Recipe"),
        ("keras_impl/model.py", "from core_torch import spec\nfrom . import weight_layout"),
        (
            "benchmarks/ports/worker.py",
            "import keras_impl, lightning_impl\nfrom core_torch.models import autoencoder",
        ),
        ("benchmarks/report/goals.py", "from benchmarks.suites import SUITES\nfrom benchmarks import timing"),
        ("benchmarks/runner.py", "from benchmarks import papers, report\nimport benchmarks.prover"),
        ("benchmarks/ports/worker.py", "np.load(path, allow_pickle=False)\njson.load(file)\nmodel.load(path)"),
    ],
)
def test_an_allowed_line_is_not(path, source):
    assert violations(path, source) == []


LOADED = """
import importlib, pathlib, sys
before = {name.partition(".")[0] for name in sys.modules}
for path in pathlib.Path("core_torch/files").glob("*.py"):
    importlib.import_module(f"core_torch.files.{path.stem}")
after = {name.partition(".")[0] for name in sys.modules}
print(*sorted(after - before - sys.stdlib_module_names))
"""


def test_what_is_read_and_written_loads_nothing_but_numpy_safetensors_and_filelock():
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"core_torch", "filelock", "lazy_loader", "numpy", "safetensors"}
