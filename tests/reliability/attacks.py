"""Files made to run code, to read or write elsewhere, or to exhaust memory; each with the reader it is aimed at.

An attack is a function (folder, canary) that puts its files into the folder and returns the call that a victim
would make. Code that runs makes the canary: a folder that must never appear. `python -m tests.reliability.attacks
GROUP PLACE` tries a group in a process of its own.
"""

import argparse
import bz2
import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from core_torch.files.weights import MANIFEST_NAME, WEIGHTS_NAME
from core_torch.spec.architecture import FullyConnected, describe, parameter_shapes
from core_torch.spec.errors import UserError
from core_torch.spec.recipe import Recipe

SMALL = FullyConnected(widths=(784, 2))
LARGEST_PEAK = 64_000_000  # bytes; the bombs would take more, some of them gigabytes
BOMB = bytes(100_000_000)  # a thousandth of it when packed
TERABYTE = 1 << 40
Victim = Callable[[], object]
Attack = Callable[[Path, Path], Victim]
Reader = Callable[[Path], object]


class Payload:
    """Makes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.canary),)


def weights() -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(SMALL).items()}


def header_of(entries: str, *, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with that text as its header."""
    text = entries.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensors(*entries: tuple[str, list[int], int, int], size: int) -> bytes:
    """A safetensors file of these (name, shape, begin, end), however they lie in its `size` bytes of zeros."""
    described = (
        json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}})[1:-1]
        for name, shape, begin, end in entries
    )
    return header_of("{" + ",".join(described) + "}", data=bytes(size))


# ---- Who reads a file; imported before an attack, whose memory is counted -------------------------------------------


def trace_reader() -> Reader:
    from core_torch.parity.trace_file import load_trace

    return load_trace


def reply_reader() -> Reader:
    from core_torch.parity.arrays_file import read_arrays

    return read_arrays


def results_reader() -> Reader:
    from benchmarks.report.reading import read_results

    return read_results


def recipe_reader() -> Reader:
    from core_torch.commands.train_options import add_train_options, resolve_options

    parser = argparse.ArgumentParser()
    add_train_options(parser, models=("shallow",))
    return lambda path: resolve_options(parser.parse_args(["--recipe", str(path)]), models=("shallow",))


def images_reader() -> Reader:
    from core_torch.files.idx import read_idx

    return lambda path: read_idx(path, item_shape=(28, 28))


def folder_reader() -> Reader:
    from core_torch.models.checkpoint import load_checkpoint

    return load_checkpoint


def ckpt_reader() -> Reader:
    from lightning_impl.checkpoint import read_checkpoint

    return read_checkpoint


def module_reader() -> Reader:
    from lightning_impl.model import LitAutoencoder

    return LitAutoencoder.load_from_checkpoint


def data_reader() -> Reader:
    from lightning_impl.data import MNISTDataModule

    return MNISTDataModule.load_from_checkpoint


def trainer_reader() -> Reader:
    import lightning as L

    from lightning_impl.checkpoint import AtomicCheckpointIO
    from lightning_impl.data import MNISTDataModule
    from lightning_impl.model import LitAutoencoder

    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", plugins=AtomicCheckpointIO(), enable_checkpointing=False, **quiet)
    return lambda path: trainer.fit(LitAutoencoder("shallow"), datamodule=MNISTDataModule(), ckpt_path=path)


def command_reader() -> Reader:
    from lightning_impl.commands import check_agreement

    return lambda path: check_agreement({}, str(path))


READERS = (trace_reader, reply_reader, results_reader, recipe_reader, ckpt_reader)
CKPT_READERS = (ckpt_reader, module_reader, data_reader, trainer_reader, command_reader)


def without_end(reader: Callable[[], Reader], kind: str) -> Attack:
    """A device, a pipe, or a terabyte of which nothing is on the disk, where a file is expected."""

    def attack(folder: Path, canary: Path) -> Victim:
        path = folder / "file"
        if kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a device":
            path.symlink_to("/dev/zero")
        else:
            path.touch()
            os.truncate(path, TERABYTE)
        return partial(reader(), path)

    return attack


def file_of(reader: Callable[[], Reader], content: Callable[[Path], bytes]) -> Attack:
    def attack(folder: Path, canary: Path) -> Victim:
        (folder / "file").write_bytes(content(canary))
        return partial(reader(), folder / "file")

    return attack


# ---- Checkpoint folders, read by every port ------------------------------------------------------------------------


def sealed(folder: Path, content: bytes, **changes: object) -> None:
    """Weights of any content, with a manifest whose digests vouch for it."""
    (folder / WEIGHTS_NAME).write_bytes(content)
    manifest = {
        "schema": 1,
        "sha256": hashlib.sha256(content).hexdigest(),
        "model": "small",
        "dataset": "digits",
        "architecture": describe(SMALL),
        "recipe": Recipe().to_dict(),
        **changes,
    }
    seal = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest | {"manifest_sha256": seal}))


def folder_with(content: Callable[[Path], bytes] = lambda _: save(weights()), **changes: object) -> Attack:
    """A sealed folder with other weights, or other entries in its manifest."""

    def attack(folder: Path, canary: Path) -> Victim:
        sealed(folder, content(canary), **changes)
        return partial(folder_reader(), folder)

    return attack


def with_manifest(change: Callable[[str], str]) -> Attack:
    def attack(folder: Path, canary: Path) -> Victim:
        sealed(folder, save(weights()))
        path = folder / MANIFEST_NAME
        path.write_text(change(path.read_text()))
        return partial(folder_reader(), folder)

    return attack


def torch_zip(canary: Path) -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save({"encoder.0.weight": Payload(canary)}, stream)
    return stream.getvalue()


def linked(name: str, target: str) -> Attack:
    def attack(folder: Path, canary: Path) -> Victim:
        sealed(folder, save(weights()))
        (folder / name).unlink()
        (folder / name).symlink_to(target)
        return partial(folder_reader(), folder)

    return attack


def staged_elsewhere(folder: Path, canary: Path) -> Victim:
    """The digest in the manifest is a path: where staged weights lie follows from it."""
    (folder / f".{WEIGHTS_NAME}-").mkdir()
    (folder.parent / "secret").write_bytes(save(weights()))
    sealed(folder, save(weights()), sha256="/../../secret")
    return partial(folder_reader(), folder)


def replaced_by(name: str, attack: Attack) -> Attack:
    """A folder with one file as that attack makes it."""

    def replacing(folder: Path, canary: Path) -> Victim:
        attack(folder, canary)
        made = folder / "file"
        sealed(folder, save(weights()))
        made.replace(folder / name)
        return partial(folder_reader(), folder)

    return replacing


def a_url(folder: Path, canary: Path) -> Victim:
    """Given in place of a folder; the file behind it is sound."""
    sealed(folder, save(weights()))
    return partial(folder_reader(), Path(folder.as_uri()))


FOLDERS: dict[str, Attack] = {
    "a pickle as weights": folder_with(lambda canary: pickle.dumps(Payload(canary))),
    "torch.save as weights": folder_with(torch_zip),
    "a header of 2^63 bytes": folder_with(lambda _: header_of("{}", length=1 << 63)),
    "a header of a gigabyte": folder_with(lambda _: header_of("{}", length=1 << 30)),
    "a header nested without end": folder_with(lambda _: header_of('{"a":' * 50_000)),
    "a tensor larger than its file": folder_with(lambda _: tensors(("a", [10**9, 10**9], 0, 8), size=8)),
    "tensors that overlap": folder_with(lambda _: tensors(("a", [2], 0, 8), ("b", [2], 4, 12), size=12)),
    "bytes that belong to no tensor": folder_with(lambda _: tensors(("a", [1], 0, 4), size=99)),
    "a tensor named twice": folder_with(lambda _: tensors(("a", [1], 0, 4), ("a", [1], 4, 8), size=8)),
    "an offset below zero": folder_with(lambda _: tensors(("a", [1], -4, 0), size=4)),
    "a manifest entry given twice": with_manifest(lambda text: text[:-1] + ', "sha256": "0"}'),
    "a manifest nested without end": with_manifest(lambda text: '{"a":' * 100_000),
    "a manifest of 20 MB": with_manifest(lambda text: text + " " * 20_000_000),
    "a manifest with an endless number": with_manifest(lambda text: text.replace("784", "7" * 10_000, 1)),
    "a model of terabytes": folder_with(architecture=describe(FullyConnected(widths=(784, 10**9, 10**9)))),
    "a kind of model that is a module": folder_with(architecture={"kind": "os.mkdir", "path": "canary"}),
    "a manifest that is another file": linked(MANIFEST_NAME, "/etc/passwd"),
    **{
        f"{name} that are {kind}": replaced_by(name, without_end(folder_reader, kind))
        for name in (WEIGHTS_NAME, MANIFEST_NAME)
        for kind in ("a device", "a pipe", "a terabyte")
    },
    "a digest that is a path": staged_elsewhere,
    "a URL as folder": a_url,
}


# ---- What workers, golden traces, runs and users exchange ----------------------------------------------------------


def npy(array: np.ndarray, *, claims: str = "") -> bytes:
    """An .npy file whose header may claim another shape."""
    stream = io.BytesIO()
    np.save(stream, array)
    head, body = stream.getvalue().split(b"\n", 1)
    claimed = head.rstrip().replace(str(array.shape).encode(), claims.encode()) if claims else head
    return claimed.ljust(len(head)) + b"\n" + body


def trace_of(*members: tuple[str, Callable[[Path], bytes]], packed: int = zipfile.ZIP_STORED) -> Attack:
    def content(canary: Path) -> bytes:
        stream = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", packed) as archive:
            warnings.simplefilter("ignore")  # of a name given twice
            for name, make in members:
                archive.writestr(name, make(canary))
        return stream.getvalue()

    return file_of(trace_reader, content)


def objects(canary: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Payload(canary)], dtype=object))
    return stream.getvalue()


def bzipped(canary: Path) -> bytes:
    """A trace that claims no more than it may, and inflates all the same: bzip2 has no limit on what comes at once."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("loss@1.npy", bz2.compress(BOMB))
    content = bytearray(stream.getvalue())
    for signature, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):  # where its two headers tell the method
        content[content.index(signature) + place] = zipfile.ZIP_BZIP2
    return bytes(content)


def one(_: Path) -> bytes:
    return npy(np.zeros(3))


EXCHANGED: dict[str, Attack] = {
    "an object array in a trace": trace_of(("loss@1.npy", objects)),
    "a pickle as trace": file_of(trace_reader, lambda canary: pickle.dumps(Payload(canary))),
    "a trace that slips out": trace_of(("../../canary/loss@1.npy", one)),
    "a trace whose header promises terabytes": trace_of(("a@1.npy", lambda _: npy(np.zeros(3), claims="(1 << 40,)"))),
    "a trace of less than nothing": trace_of(("a@1.npy", lambda _: npy(np.zeros(3), claims="(-1, -3)"))),
    "a trace with terabytes claimed": trace_of(("a@1.npy", lambda _: npy(np.zeros(3), claims=f"({TERABYTE},)"))),
    "a trace that inflates a thousandfold": trace_of(("a@1.npy", lambda _: BOMB), packed=zipfile.ZIP_DEFLATED),
    "a trace of many that do": trace_of(
        *((f"{number}.npy", lambda _: BOMB[: 1 << 19]) for number in range(200)), packed=zipfile.ZIP_DEFLATED
    ),
    "a trace packed without a limit": file_of(trace_reader, bzipped),
    "an array given twice in a trace": trace_of(("a@1.npy", one), ("a@1.npy", one)),
    "a pickle as a worker's reply": file_of(reply_reader, lambda canary: pickle.dumps(Payload(canary))),
    "results nested without end": file_of(results_reader, lambda _: b'{"schema": 2, "agreement": ' + b"[" * 200_000),
    "a recipe nested without end": file_of(recipe_reader, lambda _: b"a = " + b"[" * 100_000),
    **{
        f"{kind} as {reader.__name__.removesuffix('_reader')}": without_end(reader, kind)
        for reader in READERS
        for kind in ("a device", "a pipe", "a terabyte")
    },
}


# ---- Datasets ------------------------------------------------------------------------------------------------------


def bundle_slip(folder: Path, canary: Path) -> Victim:
    """A published archive, checksum and all, whose members want to lie elsewhere."""
    from core_torch.files import downloads, sources

    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        archive.writestr(f"gzip/../../{canary.name}/x.gz", gzip.compress(b"x"))
        archive.writestr(f"{canary}/x", b"x")
    md5 = hashlib.md5((folder / "gzip.zip").read_bytes()).hexdigest()
    names = {"emnist-mnist-test-images-idx3-ubyte": ""}
    source = sources.Source("EMNIST", (folder.as_uri() + "/",), names, {}, ("gzip.zip", md5))
    return lambda: downloads.repair(source, folder / "raw", dataset="emnist")


def gzip_bomb(folder: Path, canary: Path) -> Victim:
    count = 90_000  # 71 MB of zeros in 0.07 MB
    header = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28)
    (folder / "images.gz").write_bytes(gzip.compress(header + BOMB[: 784 * count]))
    return partial(images_reader(), folder / "images.gz")


DATASETS: dict[str, Attack] = {
    "a bundle that slips out": bundle_slip,
    "images without end": without_end(images_reader, "a device"),
    "images through a pipe": without_end(images_reader, "a pipe"),
    "images that inflate a thousandfold": gzip_bomb,
}


# ---- Lightning's checkpoints ---------------------------------------------------------------------------------------


def ckpt(content: Callable[[Path], dict], *, zipped: bool = True) -> Callable[[Path], bytes]:
    def make(canary: Path) -> bytes:
        import torch

        stream = io.BytesIO()
        whole = {"pytorch-lightning_version": "2.6.6", "state_dict": {}} | content(canary)
        torch.save(whole, stream, _use_new_zipfile_serialization=zipped)
        return stream.getvalue()

    return make


def with_payload(canary: Path) -> dict:
    return {"callbacks": Payload(canary)}


def with_instantiator(canary: Path) -> dict:
    """CVE-2026-58659: the named function is imported and called with the other hyperparameters."""
    return {"hyper_parameters": {"_instantiator": "os.mkdir", "path": str(canary)}, "hparams_name": "kwargs"}


def with_class_path(canary: Path) -> dict:
    """What jsonargparse makes an object of."""
    return {"hyper_parameters": {"architecture": {"class_path": "os.mkdir", "init_args": {"path": str(canary)}}}}


def with_data_class_path(canary: Path) -> dict:
    return {"datamodule_hyper_parameters": [{"_class_path": "os.mkdir", "path": str(canary)}]}


def with_itself(canary: Path) -> dict:
    content: dict[str, object] = {}
    content["hyper_parameters"] = content
    return content


def multiplying(canary: Path) -> dict:
    """Sixty lists, each twice in the next: few bytes, and a walk through them never ends."""
    content: list[object] = []
    for _ in range(60):
        content = [content, content]
    return {"hyper_parameters": {"list": content}}


def inflating(canary: Path) -> bytes:
    sound, stream = zipfile.ZipFile(io.BytesIO(ckpt(lambda _: {})(canary))), io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in sound.namelist():
            archive.writestr(member, sound.read(member) + BOMB * member.endswith("data.pkl"))
    return stream.getvalue()


def ckpt_url(reader: Callable[[], Reader]) -> Attack:
    def attack(folder: Path, canary: Path) -> Victim:
        (folder / "a.ckpt").write_bytes(ckpt(with_payload)(canary))
        return partial(reader(), (folder / "a.ckpt").as_uri())  # type: ignore[arg-type]

    return attack


LIGHTNING: dict[str, Attack] = {
    f"{name}, {reader.__name__.replace('_', ' ')}": file_of(reader, content)
    for name, content in {
        "a pickle in a .ckpt": ckpt(with_payload),
        "an instantiator in a .ckpt": ckpt(with_instantiator),
        "a class path in a .ckpt": ckpt(with_class_path),
        "a class path of the data in a .ckpt": ckpt(with_data_class_path),
    }.items()
    for reader in CKPT_READERS
} | {
    "a .ckpt of before zip files": file_of(ckpt_reader, ckpt(with_payload, zipped=False)),
    "a .ckpt that holds itself": file_of(ckpt_reader, ckpt(with_itself)),
    "a .ckpt of lists that multiply": file_of(ckpt_reader, ckpt(multiplying)),
    "a .ckpt that inflates a thousandfold": file_of(ckpt_reader, inflating),
    **{f"a URL as .ckpt, {reader.__name__.replace('_', ' ')}": ckpt_url(reader) for reader in CKPT_READERS},
}


# ---- Keras: what is dangerous in its own formats lies in a folder in place of, and beside, what is read here --------


def keras_archive(content: Callable[[Path], dict[str, Any]]) -> Callable[[Path], bytes]:
    """A `.keras` file with that configuration."""

    def make(canary: Path) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
            archive.writestr("config.json", json.dumps(content(canary)))
        return stream.getvalue()

    return make


def calling(canary: Path) -> dict[str, Any]:
    return {"module": "os", "class_name": "mkdir", "config": {"path": str(canary)}, "registered_name": None}


def with_lambda(canary: Path) -> bytes:
    """A model with a layer of code, which Keras itself has saved."""
    import keras

    code = f"__import__('os').path.isdir({str(canary)!r}) or __import__('os').mkdir({str(canary)!r})"
    fire = eval(f"lambda x: (x, {code})[0]")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(fire, output_shape=(4,))])
    path = canary.with_name("lambda.keras")
    model.save(path)
    if canary.exists():  # it may fire while the model is built
        canary.rmdir()
    content = path.read_bytes()
    path.unlink()
    return content


def slipping(canary: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(f"../../{canary.name}/x", "x")
    return stream.getvalue()


def keras_file(make: Callable[[Path], bytes], *, beside: bool) -> Attack:
    """Where there is no folder of this repository, or beside one whose weights are damaged."""

    def attack(folder: Path, canary: Path) -> Victim:
        from keras_impl.checkpoint import KERAS_NAME, load_checkpoint

        if beside:
            sealed(folder, save(weights()), sha256="0" * 64)
        (folder / KERAS_NAME).write_bytes(make(canary))
        return lambda: load_checkpoint(folder)

    return attack


def backup_with(content: Callable[[Path], bytes], **entries: object) -> Attack:
    """Sealed, and of the same run as the model that is to go on from it."""

    def attack(folder: Path, canary: Path) -> Victim:
        from keras_impl.checkpoint import FOLDER_NAME, Backup
        from keras_impl.model import build_autoencoder

        model = build_autoencoder(SMALL)
        model.compile("sgd", "mean_squared_error")
        backup = Backup(folder, model, metadata={})
        sealed(folder / FOLDER_NAME, content(canary), **{"run": {}, "history": {}} | entries)
        return backup.restore

    return attack


KERAS: dict[str, Attack] = {
    f"{name}, {'beside' if beside else 'in place of'} weights": keras_file(make, beside=beside)
    for name, make in {
        "a .keras with code": with_lambda,
        "a .keras that names a function": keras_archive(calling),
        "a .keras that slips out": slipping,
        "HDF5": lambda _: b"\x89HDF\r\n\x1a\n" + bytes(100),
    }.items()
    for beside in (False, True)
} | {
    "a pickle as backup": backup_with(lambda canary: pickle.dumps(Payload(canary))),
    "a backup of other arrays": backup_with(lambda _: tensors(("best/../x", [1], 0, 4), size=4)),
    "a backup with a number as history": backup_with(lambda _: save(weights()), history=3),
}


# ---- The trial -----------------------------------------------------------------------------------------------------

GROUPS = {
    "checkpoint folders": FOLDERS,
    "exchanged files": EXCHANGED,
    "datasets": DATASETS,
    "checkpoints of Lightning": LIGHTNING,
    "files of Keras": KERAS,
}


def snapshot(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def outcome(attack: Attack, place: Path) -> str:
    """`refused`: in one line, by an error of ours, in little memory, and nothing ran or was written. Or what else."""
    canary, folder = place / "canary", place / "a" / "folder"
    folder.mkdir(parents=True)
    os.chdir(place)
    victim, before = attack(folder, canary), snapshot(place)
    tracemalloc.start()
    try:
        victim()
        found = "is accepted"
    except UserError as error:
        found = "refused" if len(str(error).splitlines()) == 1 else f"says {str(error)!r}"
    except (Exception, SystemExit) as error:
        found = f"raises {type(error).__name__}: {error}"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if canary.exists():
        return "fires"
    if written := snapshot(place) - before - {"a/folder/raw"}:
        return f"writes {sorted(written)}"
    return found if peak < LARGEST_PEAK else f"takes {peak:,} bytes"


if __name__ == "__main__":
    group, place = sys.argv[1], Path(sys.argv[2])
    print(json.dumps({name: outcome(attack, place / f"{n}") for n, (name, attack) in enumerate(GROUPS[group].items())}))
