"""What Keras writes and reads: folders of other ports, runs that are killed and go on, files that are saved meanwhile.

A backend's process runs `work`; run as a script, this file is a process that shall be killed.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

from core_torch.files.splits import Split, load_split, to_unit_range
from core_torch.spec.architecture import FullyConnected, architecture_named
from core_torch.spec.errors import CheckpointError
from core_torch.spec.recipe import Recipe
from tests.reliability.killing import Writer, kill_while_saving

MODELS = ("shallow", "conv-shallow")
OUTPUT = 1e-6  # largest difference of outputs in [0, 1], in float32
SMALL = FullyConnected(widths=(784, 8))
ADAM = Recipe(batch_size=32, epochs=4, learning_rate=0.01)
DENOISING = ADAM.with_changes(objective="denoising", validation_fraction=0)
PATIENT = Recipe(optimizer="sgd", momentum=0.9, learning_rate=1.0, batch_size=32, epochs=4, patience=3)
# {name: (recipe, pipeline)}; each is stopped after two epochs of four, the last one by SIGKILL.
RUNS = {
    "patient": (PATIENT, "resident"),
    "one-cycle": (ADAM.with_changes(schedule="one-cycle"), "arrays"),
    "denoising resident": (DENOISING.with_changes(corruption="masking"), "resident"),
    "denoising": (DENOISING, "arrays"),
}
STOPPED_AFTER = 2  # epochs


def digit_images() -> np.ndarray:
    return to_unit_range(load_split("digits", train=False).images).reshape(-1, 784)


def training_split() -> Split:
    return load_split("digits").take(np.arange(70))


# ---- The process of one backend -----------------------------------------------------------------------------------


def work(folder: Path) -> None:
    """Everything the tests judge, on the backend of this process."""
    exchange(folder)
    stopped = subprocess.run([sys.executable, __file__, str(folder), "stop"])
    write(folder, "stopped", {"signal": -stopped.returncode})
    go_on(folder)
    write(folder, "refusals", {name: np.array(text) for name, text in refusals(folder).items()})


def exchange(folder: Path) -> None:
    """Outputs of the models that PyTorch trained; and models that Keras trained, with theirs."""
    from keras_impl.checkpoint import load_checkpoint, save_checkpoint
    from keras_impl.model import build_autoencoder
    from keras_impl.training import predict, train

    for name in MODELS:
        model, *_ = load_checkpoint(folder / f"torch-{name}")
        found = {"read": predict(model, digit_images())}
        architecture, recipe = architecture_named(name), Recipe(epochs=1)
        model = build_autoencoder(architecture)
        train(model, training_split(), recipe=recipe)
        (folder / f"keras-{name}").mkdir()
        save_checkpoint(folder / f"keras-{name}", model, architecture, recipe=recipe, name=name, dataset="digits")
        write(folder, f"outputs-{name}", found | {"written": predict(model, digit_images())})


def run(folder: Path, name: str, **options: Any) -> dict[str, Any]:
    """Weights and history of a run, which goes on from the backup in the folder."""
    from keras_impl.model import build_autoencoder
    from keras_impl.training import train

    recipe, pipeline = RUNS[name]
    model, white = build_autoencoder(SMALL), training_split()
    white = Split(np.full_like(white.images, 255), white.labels, "white")  # fitted worse with every epoch
    options |= {"validation": white if recipe.patience else None, "pipeline": pipeline, "backup": folder}
    history = train(model, training_split(), recipe=recipe, **options)
    history.pop("seconds")
    return history | {f"weight {index}": array for index, array in enumerate(model.get_weights())}


def stop_in_the_middle(folder: Path) -> None:
    """Start every run, stop it after two epochs; the last time not to return."""
    import keras

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch + 1 == STOPPED_AFTER:
                if name == "denoising":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise InterruptedError

    for name in RUNS:
        with suppress(InterruptedError):
            run(folder / f"backup-{name}", name, callbacks=[Stop()])


def go_on(folder: Path) -> None:
    """The runs that were stopped to their end, and beside them those that never were."""
    from keras_impl.checkpoint import Backup

    shutil.copytree(folder / "backup-denoising", folder / "backup-weights only")
    for name in RUNS:
        write(folder, f"resumed {name}", run(folder / f"backup-{name}", name))
        write(folder, f"whole {name}", run(folder / f"whole-{name}", name))
    right = Backup.restore

    def restore(self: Backup) -> Any:
        import keras

        names = [name for name in self.variables if name.startswith("optimizer/")]
        fresh = {name: np.array(keras.ops.convert_to_numpy(self.variables[name])) for name in names}
        restored = right(self)
        for name in names:
            self.variables[name].assign(fresh[name])
        return restored

    Backup.restore = restore
    write(folder, "resumed weights only", run(folder / "backup-weights only", "denoising"))
    Backup.restore = right


def refusals(folder: Path) -> dict[str, str]:
    """What is said to backups of other runs, and to damaged ones."""
    from keras_impl import training
    from keras_impl.model import build_autoencoder

    def said(place: str, *, split: Split | None = None, widths: tuple = SMALL.widths, **changes: Any) -> str:
        recipe, pipeline = RUNS["denoising"]
        changed, recipe = changes.pop("pipeline", pipeline), recipe.with_changes(**changes)
        model = build_autoencoder(FullyConnected(widths=widths))
        try:
            training.train(model, split or training_split(), recipe=recipe, pipeline=changed, backup=folder / place)
        except CheckpointError as error:
            return str(error)
        return "accepted"

    place, damaged = "backup-denoising", folder / "backup-damaged"
    file = damaged / "backup" / "weights.safetensors"
    found = {
        "same": said(place),
        "recipe": said(place, learning_rate=0.02),
        "architecture": said(place, widths=(784, 9)),
        "route": said(place, pipeline="resident"),
        "images": said(place, split=load_split("digits").take(np.arange(1, 71))),
        "no folder": said("outputs-shallow.npz/backup"),
    }
    right, training.model_hash = training.model_hash, lambda model: "another activation"
    found["model"] = said(place)
    training.model_hash = right
    shutil.copytree(folder / place, damaged)
    whole = file.read_bytes()
    for name, content in {"cut": whole[:-9], "flipped": flip(whole, len(whole) // 2)}.items():
        file.write_bytes(content)
        found[name] = said(damaged.name)
    shutil.copytree(folder / "torch-shallow", folder / "backup-torch" / "backup")
    return found | {"another thing": said("backup-torch")}


def flip(whole: bytes, place: int) -> bytes:
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


def read(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz", allow_pickle=False) as stored:
        return dict(stored)


def write(folder: Path, name: str, arrays: dict[str, Any]) -> None:
    np.savez(folder / f"{name}.npz", **arrays)


# ---- A process whose children are killed while they save ----------------------------------------------------------


def kill_children(way: str, folder: Path, kills: int) -> None:
    """Print how often the file was unreadable, how often it was not what had been said, and how many files there are
    at the end.
    """
    save, load = WAYS[way](folder)
    writer = Writer(lambda _, number: save(number), lambda _: load(), [])
    found = kill_while_saving(writer, folder, times=kills, seconds=0.08)  # a save takes a few hundredths
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))
    save(0)  # which removes what killed children left, now that it is old
    print(found.unreadable, found.lost, sum(path.is_file() for path in folder.rglob("*")))


def keras_file(folder: Path, *, in_place: bool = False) -> tuple[Callable[[int], None], Callable[[], int]]:
    """How a number is saved as a `.keras` file and loaded."""
    import keras

    from keras_impl.checkpoint import save_model
    from keras_impl.model import build_autoencoder

    model, path = build_autoencoder(architecture_named("shallow")), folder / "model.keras"

    def save(number: int) -> None:
        model.set_weights([np.full(array.shape, number, "float32") for array in model.get_weights()])
        if in_place:
            model.save(path)
        else:
            save_model(model, path)

    def load() -> int:
        return the_number_in(keras.saving.load_model(path))

    return save, load


def backup_file(folder: Path) -> tuple[Callable[[int], None], Callable[[], int]]:
    """How a number of epochs is backed up and restored."""
    from keras_impl.checkpoint import Backup
    from keras_impl.model import build_autoencoder

    model = build_autoencoder(architecture_named("shallow"))
    model.compile("adam", "mean_squared_error")
    model.optimizer.build(model.trainable_variables)

    def save(number: int) -> None:
        model.set_weights([np.full(array.shape, number, "float32") for array in model.get_weights()])
        Backup(folder, model, metadata={}).save({"train_loss": [0.0] * number})

    def load() -> int:
        history, _ = Backup(folder, model, metadata={}).restore()
        number = the_number_in(model)
        if number != len(history["train_loss"]):
            raise CheckpointError("weights of one epoch, history of another")
        return number

    return save, load


def the_number_in(model: Any) -> int:
    (number,) = {float(value) for array in model.get_weights() for value in np.unique(array)}
    return int(number)


WAYS = {
    "save_model": keras_file,
    "model.save": lambda folder: keras_file(folder, in_place=True),
    "backup": backup_file,
}


# ---- The judge ----------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """What `work` reads: one folder for each model that PyTorch has trained."""
    for name in MODELS:
        trained = folder.parent / f"torch-{name}"
        if not trained.exists():
            options = f"train --model {name} --epochs 1 --no-figures --output {trained}"
            subprocess.run([sys.executable, "-m", "core_torch", *options.split()], check=True, capture_output=True)
        shutil.copytree(trained, folder / trained.name)


@pytest.mark.parametrize("name", MODELS)
def test_keras_reads_what_pytorch_wrote_and_pytorch_what_keras_wrote(results, name):
    outputs = read(results, f"outputs-{name}")
    for folder, found in (("torch", outputs["read"]), ("keras", outputs["written"])):
        np.testing.assert_allclose(found, torch_outputs(results / f"{folder}-{name}"), atol=OUTPUT)
    assert np.abs(outputs["read"] - outputs["written"]).max() > 1000 * OUTPUT


def torch_outputs(folder: Path) -> np.ndarray:
    import torch

    from core_torch.models.checkpoint import load_checkpoint

    model, *_ = load_checkpoint(folder)
    with torch.no_grad():
        return model(torch.from_numpy(digit_images()).reshape(-1, 1, 28, 28)).numpy()


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_was_stopped_ends_bit_for_bit_as_one_that_was_not(results, name):
    resumed, whole = read(results, f"resumed {name}"), read(results, f"whole {name}")
    assert len(whole["train_loss"]) == 4
    assert resumed.keys() == whole.keys()
    for key, array in whole.items():
        np.testing.assert_array_equal(resumed[key], array, err_msg=key)
    assert read(results, "stopped")["signal"] == signal.SIGKILL


def test_without_the_optimizers_state_it_would_not(results):
    resumed, whole = read(results, "resumed weights only"), read(results, "whole denoising")
    np.testing.assert_array_equal(resumed["train_loss"][:STOPPED_AFTER], whole["train_loss"][:STOPPED_AFTER])
    assert not np.array_equal(resumed["weight 0"], whole["weight 0"])


def test_a_backup_of_another_run_or_a_damaged_one_is_refused_by_name(results):
    said = {name: str(text) for name, text in read(results, "refusals").items()}
    assert said.pop("same") == "accepted"
    named = {"architecture": "model", "route": "route", "images": "images"}
    named |= {"recipe": "learning_rate: found 0.01, expected 0.02"}
    named |= {"model": "expected another activation", "no folder": "cannot be written"}
    named |= {"cut": "found sha256", "flipped": "found sha256", "another thing": "is not a backup"}
    assert {name for name, text in named.items() if text not in said[name]} == set()
    assert said.keys() == named.keys()


@pytest.mark.parametrize(
    ("place", "kills", "ways"),
    [
        ("tmp", 6, ["save_model", "backup"]),
        *(pytest.param(place, 50, [*WAYS], marks=pytest.mark.slow) for place in ("tmp", "/dev/shm")),
    ],
)
def test_kill_9_while_saving_leaves_nothing_unreadable_and_loses_nothing_that_was_said(tmp_path, place, kills, ways):
    folder = Path(mkdtemp(dir=tmp_path if place == "tmp" else place))
    environment = {"KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, __file__, str(folder), str(kills), *ways]
    finished = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    shutil.rmtree(folder)
    assert finished.returncode == 0, finished.stderr[-4000:]
    for way, counts in zip(ways, finished.stdout.splitlines(), strict=True):
        unreadable, lost, files = map(int, counts.split())
        if way == "model.save":  # Keras's own: the twin that shows that the kills hit
            assert unreadable > kills / 4
        else:
            assert (unreadable, lost, files) == (0, 0, 2 if way == "backup" else 1), way


if __name__ == "__main__":
    place, *what = sys.argv[1:]
    if what == ["stop"]:
        stop_in_the_middle(Path(place))
    else:
        kills, *ways = what
        for way in ways:
            (Path(place) / way).mkdir()
            kill_children(way, Path(place) / way, int(kills))
