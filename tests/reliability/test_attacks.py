"""No attack runs its code; each is answered in one line by an error of this repository, in little memory."""

import os
import pickle
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from core_torch.contract.errors import CheckpointError, DataFormatError, UserError
from tests.reliability.attacks import ATTACKS, Payload, load_folder, object_array, sealed, torch_zip, weights

ROOT = Path(__file__).parents[2]
LARGEST_PEAK = 64_000_000  # bytes; the bombs would take more, some of them gigabytes
BLOCKED_BY_LIGHTNING = "an instantiator in a .ckpt"  # itself, since 2.6.6, by an error of its own


def snapshot(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_an_attack_fires_nothing_and_is_answered_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    canary, folder = tmp_path / "canary", tmp_path / "a" / "folder"
    folder.mkdir(parents=True)
    victim = ATTACKS[name](folder, canary)
    before = snapshot(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError if name == BLOCKED_BY_LIGHTNING else UserError) as caught:
            victim()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(caught.value, CheckpointError | DataFormatError) or "allowlist" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not canary.exists()
    assert snapshot(tmp_path) - before <= {"a/folder/raw"}
    assert peak < LARGEST_PEAK


def test_there_are_enough_of_them():
    assert len(ATTACKS) >= 25


def test_a_sound_folder_made_the_same_way_is_loaded(tmp_path):
    from safetensors.numpy import save

    sealed(tmp_path, save(weights()))
    load_folder(tmp_path)()


def test_the_canary_appears_where_pickles_are_read(tmp_path):
    import torch

    for number, careless in enumerate(
        (
            lambda canary: pickle.loads(pickle.dumps(Payload(canary))),  # noqa: S301
            lambda canary: torch.load(write(tmp_path / "w.pt", torch_zip(canary)), weights_only=False),
            lambda canary: object_array(tmp_path, canary)
            and np.load(tmp_path / "trace.npz", allow_pickle=True)["loss@1"],
        )
    ):
        canary = tmp_path / f"canary {number}"
        careless(canary)
        assert canary.is_dir()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# Loads everything that this repository loads, in a process where unpickling ends it.
NO_PICKLES = """
import sys
from pathlib import Path

import pickle
import numpy as np, torch

torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports what derives a class from pickle's

def refuse(*arguments, **options):
    raise SystemExit("a pickle was read")

pickle.load = pickle.loads = pickle.Unpickler = pickle._Unpickler = refuse
np.lib.format.pickle = pickle

from benchmarks.parity.trace import load_trace, save_trace
from core_torch.checkpoint import load_checkpoint, save_checkpoint
from core_torch.contract.pixels import load_split
from core_torch.contract.recipe import Recipe
from core_torch.data.resident import ResidentDataset
from core_torch.models.fully_connected import ShallowAutoencoder
from core_torch.training.checkpoints import Checkpoints
from core_torch.training.loop import train

folder = Path(sys.argv[1])
images, recipe = ResidentDataset(load_split("digits")), Recipe(epochs=1, batch_size=1000)
for _ in range(2):
    model = ShallowAutoencoder(2)
    train(model, images, recipe=recipe, progress=False, checkpoints=Checkpoints(folder / "run", every=1))
save_checkpoint(folder, model, recipe=recipe, name="small", dataset="digits")
load_checkpoint(folder)
save_trace(folder / "trace.npz", {"loss@1": np.array(1.0)})
load_trace(folder / "trace.npz")
print("all is read")
pickle.loads(b"")
"""


def python(script: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    quiet = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, env=os.environ | quiet | variables, capture_output=True, text=True)


def test_nothing_is_unpickled_on_the_way_from_images_to_a_checkpoint_and_back(tmp_path):
    done = python(NO_PICKLES, tmp_path)
    assert (done.stdout, done.stderr) == ("all is read\n", "a pickle was read\n")


# Keras: what is dangerous in its own formats lies in a folder in place of, and beside, what this repository reads.
KERAS = """
import json, os, sys, zipfile
from pathlib import Path

import keras
import numpy as np
from safetensors.numpy import save

from core_torch.contract.errors import CheckpointError
from keras_impl.checkpoint import KERAS_NAME, load_checkpoint
from tests.reliability.attacks import sealed, weights

folder, canary = Path(sys.argv[1]), Path(sys.argv[2])
code = f"__import__('os').path.isdir({str(canary)!r}) or __import__('os').mkdir({str(canary)!r})"
fire = eval(f"lambda x: (x, {code})[0]")
model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(fire, output_shape=(4,))])
model.save(folder / "lambda.keras")
if canary.exists():  # it may fire while the model is built
    os.rmdir(canary)

def edited(name, change):
    with zipfile.ZipFile(folder / "lambda.keras") as sound, zipfile.ZipFile(folder / name, "w") as archive:
        for member in sound.namelist():
            content = sound.read(member)
            if member == "config.json":
                content = json.dumps(change(json.loads(content))).encode()
            archive.writestr(member, content)
    return folder / name

def imports(config):
    call = {"module": "os", "class_name": "mkdir", "config": {"path": str(canary)}, "registered_name": None}
    return config | call

edited("module.keras", imports)
with zipfile.ZipFile(folder / "slip.keras", "w") as archive:
    archive.writestr(f"../../{canary.name}/x", "x")
(folder / "legacy.h5").write_bytes(b"\\x89HDF\\r\\n\\x1a\\n" + bytes(100))

def outcome():
    try:
        load_checkpoint(home)
        return "loaded"
    except CheckpointError as error:
        return f"refused in {len(str(error).splitlines())} line"

for name in ("lambda.keras", "module.keras", "slip.keras", "legacy.h5"):
    home = folder / f"with {name}"
    home.mkdir()
    (home / KERAS_NAME).write_bytes((folder / name).read_bytes())
    alone = outcome()
    sealed(home, save(weights()))
    print(name, alone, outcome(), canary.exists(), sep=", ")

keras.saving.load_model(folder / "lambda.keras", safe_mode=False)(np.zeros((1, 4), "float32"))
print("twin", canary.exists(), sep=", ")
"""


READS = re.compile(r"\b(load_model|h5py|deserialize\w*|model_from_json|enable_unsafe\w*)\b")


def test_no_module_of_keras_impl_reads_a_format_of_keras():
    modules = sorted((ROOT / "keras_impl").glob("*.py"))
    assert len(modules) > 10
    assert [path.name for path in modules if READS.search(path.read_text())] == []
    assert READS.search("keras.saving.load_model(path)")


@pytest.mark.stress
def test_keras_files_that_run_code_are_never_read(tmp_path):
    done = python(KERAS, tmp_path, tmp_path / "canary", KERAS_BACKEND="jax")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")[:-1]
    attacks = ("lambda.keras", "module.keras", "slip.keras", "legacy.h5")
    assert lines == [*(f"{name}, refused in 1 line, loaded, False" for name in attacks), "twin, True"]


@pytest.mark.stress
def test_all_attacks_in_the_table(tmp_path, tally):
    fired = failed = 0
    for number, attack in enumerate(ATTACKS.values()):
        folder, canary = tmp_path / f"{number}" / "folder", tmp_path / f"canary {number}"
        folder.mkdir(parents=True)
        try:
            attack(folder, canary)()
            failed += 1
        except (CheckpointError, DataFormatError, ValueError):
            pass
        fired += canary.exists()
    tally.add("attacks", tried=len(ATTACKS), failed=fired + failed)
    assert fired == failed == 0
