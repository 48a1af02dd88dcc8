"""A checkpoint comes back whole or not at all, whatever became of its files or of the saving process."""

import errno
import hashlib
import json
import os
import pickle
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import save as save_tensors

import core_torch
from core_torch.files.weights import load_weights, save_weights
from core_torch.models.autoencoder import Autoencoder, build_autoencoder, to_reference_weights
from core_torch.models.checkpoint import load_checkpoint, save_checkpoint
from core_torch.spec.architecture import ARCHITECTURES, FullyConnected
from core_torch.spec.errors import CheckpointError
from core_torch.spec.recipe import Recipe

SMALL = FullyConnected(widths=(784, 4))
RECIPE = Recipe(objective="denoising", epochs=3, learning_rate=0.0025, seed=7)
SHAPES = {**ARCHITECTURES, "small": SMALL, "tied": FullyConnected(widths=(784, 9, 4), tied=True)}


def write(folder: Path, *, seed: int = 0, architecture=SMALL, recipe: Recipe = RECIPE) -> Autoencoder:
    model = build_autoencoder(architecture, seed=seed)
    save_checkpoint(folder, model, recipe=recipe, name="small", dataset="digits")
    return model


def weights(model: Autoencoder) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in to_reference_weights(model).items()}


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(folder: Path) -> str:
    """The one line that says why the folder is not loaded."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("name", SHAPES)
def test_a_checkpoint_gives_back_the_model_the_recipe_and_what_it_was(tmp_path, name):
    model = write(tmp_path, architecture=SHAPES[name], seed=3)
    loaded, recipe, manifest = load_checkpoint(tmp_path)
    assert weights(loaded) == weights(model)
    assert (loaded.architecture, recipe) == (SHAPES[name], RECIPE)
    assert (manifest["model"], manifest["dataset"]) == ("small", "digits")
    images = torch.rand(3, 784, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(images), model(images))


def test_another_seed_is_another_checkpoint(tmp_path):
    write(tmp_path, seed=3)
    assert weights(load_checkpoint(tmp_path)[0]) != weights(build_autoencoder(SMALL, seed=4))


def test_the_files_are_one_of_weights_and_one_of_json_readable_as_the_users_mask_says(tmp_path):
    write(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    (tmp_path / "plain").touch()
    assert {path.stat().st_mode for path in tmp_path.iterdir()} == {(tmp_path / "plain").stat().st_mode}


def test_a_second_save_replaces_the_first(tmp_path):
    write(tmp_path, seed=1)
    model = write(tmp_path, seed=2, recipe=replace(RECIPE, seed=2))
    assert len(contents(tmp_path)) == 2
    loaded, recipe, _ = load_checkpoint(tmp_path)
    assert weights(loaded) == weights(model)
    assert recipe.seed == 2


FLIPS = 100  # in each file, spread evenly over its bits


@pytest.mark.parametrize("pattern", ["*.safetensors", "*.json"])
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path, pattern):
    """It changes nothing where it turns one kind of white space in the manifest into another."""
    write(tmp_path)
    model, *rest = load_checkpoint(tmp_path)
    path = only(tmp_path, pattern)
    sound, noticed = path.read_bytes(), 0
    bits = range(8 * len(sound))[:: 8 * len(sound) // FLIPS + 1]
    for bit in bits:
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            loaded, *others = load_checkpoint(tmp_path)
        except CheckpointError:
            noticed += 1
        else:
            assert others == rest and weights(loaded) == weights(model), f"bit {bit} of {path.name}"
    assert noticed > 0.8 * len(bits)
    path.write_bytes(sound)
    load_checkpoint(tmp_path)


def test_an_edited_recipe_is_noticed(tmp_path):
    write(tmp_path)
    path = only(tmp_path, "*.json")
    path.write_text(path.read_text().replace("0.0025", "0.0035"))
    refusal(tmp_path)


@pytest.mark.parametrize("pattern", ["*.safetensors", "*.json"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.999])
def test_a_file_cut_short_is_refused(tmp_path, pattern, share):
    write(tmp_path)
    path = only(tmp_path, pattern)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert str(tmp_path) in refusal(tmp_path)


@pytest.mark.parametrize("pattern", ["*.safetensors", "*.json"])
def test_a_missing_file_is_named(tmp_path, pattern):
    write(tmp_path)
    path = only(tmp_path, pattern)
    path.unlink()
    assert str(path) in refusal(tmp_path)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    assert str(tmp_path) in refusal(tmp_path)
    assert "nowhere" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "file" in refusal(tmp_path / "file")


FOREIGN_JSON = ["", "no JSON", "null", "[]", "{}", '"text"', "1", '{"schema": 1}', "\ud800", "[" * 100_000]


@pytest.mark.parametrize("text", FOREIGN_JSON, ids=range(len(FOREIGN_JSON)))
def test_foreign_json_is_refused(tmp_path, text):
    write(tmp_path)
    only(tmp_path, "*.json").write_bytes(text.encode(errors="surrogatepass"))
    refusal(tmp_path)


def rewrite(folder: Path, change: Callable[[dict], object]) -> None:
    """Save the same weights under a changed, but complete and sealed, manifest."""
    arrays, manifest = load_weights(folder)
    change(manifest)
    save_weights(folder, arrays, metadata={name: manifest[name] for name in manifest if "sha256" not in name})


FOREIGN = {
    "no architecture": lambda manifest: manifest.pop("architecture"),
    "no recipe": lambda manifest: manifest.pop("recipe"),
    "architecture is a list": lambda manifest: manifest.update(architecture=[1]),
    "recipe is a list": lambda manifest: manifest.update(recipe=[1]),
    "recipe is null": lambda manifest: manifest.update(recipe=None),
    "unknown kind": lambda manifest: manifest["architecture"].update(kind="Transformer"),
    "kind is a list": lambda manifest: manifest["architecture"].update(kind=[]),
    "unknown field": lambda manifest: manifest["architecture"].update(depth=3),
    "unknown activation": lambda manifest: manifest["architecture"].update(code_activation="gelu"),
    "other widths": lambda manifest: manifest["architecture"].update(widths=[784, 5]),
    "one more layer": lambda manifest: manifest["architecture"].update(widths=[784, 4, 4]),
    "another kind": lambda manifest: manifest.update(architecture={"kind": "Convolutional"}),
    "tied": lambda manifest: manifest["architecture"].update(tied=True),
    "terabytes": lambda manifest: manifest["architecture"].update(widths=[10**9, 10**9]),
    "beyond 64 bits": lambda manifest: manifest["architecture"].update(widths=[10**30, 10**30]),
    "rate of text": lambda manifest: manifest["recipe"].update(learning_rate="fast"),
    "unknown recipe field": lambda manifest: manifest["recipe"].update(depth=3),
    "objective is a list": lambda manifest: manifest["recipe"].update(objective=[]),
}


@pytest.mark.parametrize("foreign", FOREIGN)
def test_weights_of_one_model_are_not_loaded_into_another(tmp_path, foreign):
    write(tmp_path)
    rewrite(tmp_path, FOREIGN[foreign])
    refusal(tmp_path)


def test_a_manifest_rewritten_without_a_change_is_loaded(tmp_path):
    model = write(tmp_path)
    rewrite(tmp_path, lambda manifest: None)
    assert weights(load_checkpoint(tmp_path)[0]) == weights(model)


def seal(folder: Path, content: bytes) -> None:
    """Put `content` in the weights' place, with a manifest that vouches for it."""
    path, manifest_path = only(folder, "*.safetensors"), only(folder, "*.json")
    path.write_bytes(content)
    manifest = json.loads(manifest_path.read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
    entries = {name: value for name, value in manifest.items() if name != "manifest_sha256"}
    seal = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
    manifest_path.write_text(json.dumps(entries | {"manifest_sha256": seal}))


def test_vouched_weights_are_loaded_and_others_are_not(tmp_path):
    arrays = to_reference_weights(write(tmp_path))
    seal(tmp_path, save({name: array + 1 for name, array in arrays.items()}))
    assert weights(load_checkpoint(tmp_path)[0])["decoder.0.bias"] == (arrays["decoder.0.bias"] + 1).tobytes()
    only(tmp_path, "*.safetensors").write_bytes(save(arrays))
    assert "sha256" in refusal(tmp_path)


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("unpickled",))


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, b"\xff" * 100, pickle.dumps(Payload())])
def test_a_file_that_is_not_safetensors_is_refused_unread(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    seal(tmp_path, content)
    assert "safetensors" in refusal(tmp_path)
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path, value):
    model = write(tmp_path)
    before = contents(tmp_path)
    with torch.no_grad():
        model.decoder[0].bias[3] = value
    with pytest.raises(CheckpointError, match="decoder.0.bias holds a value that is not finite"):
        save_checkpoint(tmp_path, model, recipe=RECIPE, name="small", dataset="digits")
    assert contents(tmp_path) == before
    seal(tmp_path, save(to_reference_weights(model)))
    assert "decoder.0.bias holds a value that is not finite" in refusal(tmp_path)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int64", "bool", "complex64"])
def test_weights_of_another_type_are_refused(tmp_path, dtype):
    arrays = to_reference_weights(write(tmp_path))
    tensors = {name: torch.from_numpy(array).to(getattr(torch, dtype)) for name, array in arrays.items()}
    seal(tmp_path, save_tensors(tensors))
    refusal(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="file.* cannot be written"):
        write(tmp_path / "file" / "nowhere")


class Fails:
    """A system call whose n-th use, counted over all calls that share `left`, raises."""

    def __init__(self, call: Callable, left: list[int], error: BaseException) -> None:
        self.call, self.left, self.error = call, left, error

    def __call__(self, *arguments):
        self.left[0] -= 1
        if self.left[0] == -1:
            raise self.error
        return self.call(*arguments)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing_saves(folder: Path, monkeypatch, error: BaseException) -> Iterator[None]:
    """Save again until it succeeds; each time a later system call raises, and then the caller may look.

    At the last call the new weights are whole already, under the name in the new manifest: the error says so.
    """
    for failing in range(100):
        with monkeypatch.context() as patch:
            left = [failing]
            for name in ("fsync", "replace"):
                patch.setattr(os, name, Fails(getattr(os, name), left, error))
            try:
                write(folder, seed=2)
                break
            except (CheckpointError, KeyboardInterrupt) as caught:
                assert caught is error or re.search(rf"cannot be (written|replaced) .{error.strerror}", str(caught))
                is_saved = "is what was saved" in str(caught)
        if is_saved:
            assert weights(load_checkpoint(folder)[0]) == weights(build_autoencoder(SMALL, seed=2))
            continue
        yield
    assert failing >= 4  # two files, each flushed and moved
    assert weights(load_checkpoint(folder)[0]) == weights(build_autoencoder(SMALL, seed=2))


def test_a_disk_that_fills_up_leaves_the_old_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    write(tmp_path, seed=1)
    before = contents(tmp_path)
    for _ in failing_saves(tmp_path, monkeypatch, FULL):
        assert contents(tmp_path) == before


def test_a_disk_that_fills_up_at_the_first_save_leaves_nothing(tmp_path, monkeypatch):
    for _ in failing_saves(tmp_path, monkeypatch, FULL):
        assert contents(tmp_path) == {}


def test_a_save_that_is_interrupted_leaves_the_old_checkpoint_or_the_new(tmp_path, monkeypatch):
    whole = [weights(write(tmp_path, seed=seed)) for seed in (2, 1)]
    for _ in failing_saves(tmp_path, monkeypatch, KeyboardInterrupt()):
        assert weights(load_checkpoint(tmp_path)[0]) in whole
    assert len(contents(tmp_path)) == 2


SAVE_FOREVER = """
import sys
from itertools import count
from pathlib import Path
import numpy as np
from core_torch.files.weights import save_weights
for number in count():
    save_weights(Path(sys.argv[1]), {"w": np.full(50_000, number, np.float32)}, metadata={"number": number})
    print(number, flush=True)
"""


def kill_while_saving(folder: Path, *, after: float) -> None:
    """Kill -9 a process that saves without pause, `after` seconds from its first save on."""
    root = str(Path(core_torch.__file__).parents[1])
    command, environment = [sys.executable, "-c", SAVE_FOREVER, folder], os.environ | {"PYTHONPATH": root}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    process.stdout.readline()
    time.sleep(after)
    process.kill()
    process.communicate()


def test_a_save_killed_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    moments = random.Random(0)
    for _ in range(20):
        kill_while_saving(tmp_path, after=moments.uniform(0, 0.02))
        loaded, manifest = load_weights(tmp_path)
        assert (loaded["w"] == manifest["number"]).all()


def test_no_module_reads_a_pickle():
    reading = re.compile(r"\bpickle\b|torch\.(load|save)\(|allow_pickle=True|joblib|\bshelve\b|\bmarshal\b")
    modules = list(Path(core_torch.__file__).parent.rglob("*.py"))
    assert len(modules) > 20
    code = {path: re.sub(r'""".*?"""|#.*', "", path.read_text(), flags=re.DOTALL) for path in modules}
    assert [path for path, text in code.items() if reading.search(text)] == []
    assert reading.search("weights = torch.load(path)")


def test_the_manifest_is_json_with_the_recipe_and_the_architecture(tmp_path):
    write(tmp_path)
    manifest = json.loads(only(tmp_path, "*.json").read_text())
    content = only(tmp_path, "*.safetensors").read_bytes()
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["recipe"] == RECIPE.to_dict()
    assert manifest["architecture"]["kind"] == "FullyConnected"
    assert np.isclose(manifest["recipe"]["learning_rate"], 0.0025)
