"""No attack runs its code; each is answered in one line by an error of this repository, in little memory."""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.attacks import (
    GROUPS,
    Payload,
    folder_reader,
    objects,
    outcome,
    sealed,
    torch_zip,
    weights,
)

ROOT = Path(__file__).parents[2]
OWN_PROCESS = "files of Keras"  # a framework to itself
HERE = {name: attack for group, attacks in GROUPS.items() for name, attack in attacks.items() if group != OWN_PROCESS}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.mark.parametrize("name", HERE)
def test_an_attack_fires_nothing_and_is_refused_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert outcome(HERE[name], tmp_path) == "refused"


def python(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    quiet = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=os.environ | quiet | variables, capture_output=True, text=True
    )


def outcomes(group: str, place: Path) -> dict[str, str]:
    done = python("-m", "tests.reliability.attacks", group, place, KERAS_BACKEND="jax")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nor_does_one_on_keras(tmp_path):
    assert outcomes(OWN_PROCESS, tmp_path) == dict.fromkeys(GROUPS[OWN_PROCESS], "refused")


def test_a_sound_folder_made_the_same_way_is_loaded(tmp_path):
    from safetensors.numpy import save

    sealed(tmp_path, save(weights()))
    folder_reader()(tmp_path)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def careless_keras(folder: Path, canary: Path) -> None:
    script = """
import sys
from pathlib import Path
import keras, numpy as np
from tests.reliability.attacks import with_lambda
path = Path(sys.argv[1]) / "model.keras"
path.write_bytes(with_lambda(Path(sys.argv[2])))
keras.saving.load_model(path, safe_mode=False)(np.zeros((1, 4), "float32"))
"""
    done = python("-c", script, folder, canary, KERAS_BACKEND="jax")
    assert done.returncode == 0, done.stderr


def careless_torch(folder: Path, canary: Path) -> None:
    import torch

    torch.load(write(folder / "w.pt", torch_zip(canary)), weights_only=False)


CARELESS = {  # (folder, canary): what reads such files and trusts them
    "pickle": lambda folder, canary: pickle.loads(pickle.dumps(Payload(canary))),  # noqa: S301
    "torch": careless_torch,
    "NumPy": lambda folder, canary: np.load(write(folder / "a.npy", objects(canary)), allow_pickle=True),
    "Keras": careless_keras,
}


@pytest.mark.parametrize("name", CARELESS)
def test_the_canary_appears_where_files_are_trusted(name, tmp_path):
    CARELESS[name](tmp_path, tmp_path / "canary")
    assert (tmp_path / "canary").is_dir()


# Loads everything that this repository loads, in a process where unpickling ends it.
NO_PICKLES = """
import sys
from pathlib import Path

import pickle
import numpy as np, torch

torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports what derives a class from pickle's
{imports}

def refuse(*arguments, **options):
    raise SystemExit("a pickle was read")

pickle.load = pickle.loads = pickle.Unpickler = pickle._Unpickler = refuse
np.lib.format.pickle = pickle
folder = Path(sys.argv[1])
{work}
print("all is read")
pickle.loads(b"")
"""
BY_THE_REFERENCE = """
from core_torch.parity.arrays_file import read_arrays, write_arrays
from core_torch.parity.trace_file import load_trace, save_trace
from benchmarks.report.results_file import Results
from benchmarks.report.reading import read_results
from core_torch.models.checkpoint import load_checkpoint, save_checkpoint
from core_torch.files.splits import load_split
from core_torch.spec.recipe import Recipe
from core_torch.data.resident import ResidentDataset
from core_torch.models.fully_connected import ShallowAutoencoder
from core_torch.training.checkpoints import Checkpoints
from core_torch.training.loop import train

images, recipe = ResidentDataset(load_split("digits")), Recipe(epochs=1, batch_size=1000)
for _ in range(2):
    model = ShallowAutoencoder(2)
    train(model, images, recipe=recipe, progress=False, checkpoints=Checkpoints(folder / "run", every=1))
save_checkpoint(folder, model, recipe=recipe, name="small", dataset="digits")
load_checkpoint(folder)
save_trace(folder / "trace.npz", {"loss@1": np.array(1.0)})
load_trace(folder / "trace.npz")
write_arrays(folder / "reply.safetensors", {"a": np.zeros(3)})
read_arrays(folder / "reply.safetensors")
Results([], {"cpu": "", "versions": {}}, "digits").write(folder / "results.json")
read_results(folder / "results.json")
"""
BY_LIGHTNING = """
lit, data = LitAutoencoder("shallow", epochs=1), MNISTDataModule()
for ckpt_path in (None, folder / "a.ckpt"):
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, plugins=AtomicCheckpointIO())
    trainer.fit(lit, datamodule=data, ckpt_path=ckpt_path)
    trainer.save_checkpoint(folder / "a.ckpt")
LitAutoencoder.load_from_checkpoint(folder / "a.ckpt")
MNISTDataModule.load_from_checkpoint(folder / "a.ckpt")
check_agreement({}, str(folder / "a.ckpt"))
"""
BY_KERAS = """
from core_torch.spec.architecture import architecture_named
from core_torch.files.splits import load_split
from core_torch.spec.recipe import Recipe
from keras_impl.checkpoint import load_checkpoint, save_checkpoint
from keras_impl.model import build_autoencoder
from keras_impl.training import train

model, recipe = build_autoencoder(architecture_named("shallow")), Recipe(epochs=1)
for _ in range(2):
    train(model, load_split("digits"), recipe=recipe, backup=folder)
save_checkpoint(folder, model, architecture_named("shallow"), recipe=recipe, name="shallow", dataset="digits")
load_checkpoint(folder)
"""
LIGHTNING_IMPORTS = """
import lightning as L
from lightning_impl.checkpoint import AtomicCheckpointIO
from lightning_impl.commands import check_agreement
from lightning_impl.data import MNISTDataModule
from lightning_impl.model import LitAutoencoder
"""
WAYS = {
    "core_torch": ("", BY_THE_REFERENCE),
    "lightning": (LIGHTNING_IMPORTS, BY_LIGHTNING),
    "keras": ("import keras", BY_KERAS),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_unpickled_on_the_way_from_images_to_a_checkpoint_and_back(way, tmp_path):
    imports, work = WAYS[way]
    done = python("-c", NO_PICKLES.format(imports=imports, work=work), tmp_path, KERAS_BACKEND="torch")
    assert done.stdout.endswith("all is read\n"), done.stderr
    assert done.stderr.endswith("a pickle was read\n")


READS = re.compile(r"\b(load_model|h5py|deserialize\w*|model_from_json|enable_unsafe\w*)\b")


def test_no_module_of_keras_impl_reads_a_format_of_keras():
    modules = sorted((ROOT / "keras_impl").glob("*.py"))
    assert len(modules) > 10
    assert [path.name for path in modules if READS.search(path.read_text())] == []
    assert READS.search("keras.saving.load_model(path)")


@pytest.mark.stress
@pytest.mark.parametrize("group", GROUPS)
def test_all_attacks_of_a_group_in_the_table(group, tmp_path, tally):
    failed = {name: found for name, found in outcomes(group, tmp_path).items() if found != "refused"}
    fired = []
    for name, careless in CARELESS.items():
        (tmp_path / name).mkdir()
        careless(tmp_path / name, tmp_path / name / "canary")
        fired += [name] * (tmp_path / name / "canary").is_dir()
    baseline = f"fires where trusted: {', '.join(fired)}"
    tally.add(f"attacks on {group}", tried=len(GROUPS[group]), failed=len(failed), baseline=baseline)
    assert failed == {}
