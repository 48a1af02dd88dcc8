"""Files made to run code, to read or write elsewhere, or to exhaust memory; each with the reader it is aimed at.

An attack is a function (folder, canary) that puts its files into the folder and returns the call that a victim
would make. Code that runs makes the canary: a folder that must never appear.
"""

import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from core_torch.contract.architecture import FullyConnected, describe, parameter_shapes
from core_torch.contract.recipe import Recipe
from core_torch.contract.weights_file import MANIFEST_NAME, WEIGHTS_NAME

SMALL = FullyConnected(widths=(784, 2))
Victim = Callable[[], object]


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


def load_folder(folder: Path) -> Victim:
    from core_torch.checkpoint import load_checkpoint

    return lambda: load_checkpoint(folder)


def with_weights(content: Callable[[Path], bytes]) -> Callable[[Path, Path], Victim]:
    def attack(folder: Path, canary: Path) -> Victim:
        sealed(folder, content(canary))
        return load_folder(folder)

    return attack


def with_manifest(change: Callable[[str], str]) -> Callable[[Path, Path], Victim]:
    def attack(folder: Path, canary: Path) -> Victim:
        sealed(folder, save(weights()))
        path = folder / MANIFEST_NAME
        path.write_text(change(path.read_text()))
        return load_folder(folder)

    return attack


def with_entries(**changes: object) -> Callable[[Path, Path], Victim]:
    def attack(folder: Path, canary: Path) -> Victim:
        sealed(folder, save(weights()), **changes)
        return load_folder(folder)

    return attack


def torch_zip(canary: Path) -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save({"encoder.0.weight": Payload(canary)}, stream)
    return stream.getvalue()


def linked(name: str, target: str) -> Callable[[Path, Path], Victim]:
    def attack(folder: Path, canary: Path) -> Victim:
        sealed(folder, save(weights()))
        (folder / name).unlink()
        (folder / name).symlink_to(target)
        return load_folder(folder)

    return attack


def staged_elsewhere(folder: Path, canary: Path) -> Victim:
    """The digest in the manifest is a path: where staged weights lie follows from it."""
    (folder / f".{WEIGHTS_NAME}-").mkdir()
    (folder.parent / "secret").write_bytes(save(weights()))
    sealed(folder, save(weights()), sha256="/../../secret")
    return load_folder(folder)


def piped(folder: Path, canary: Path) -> Victim:
    sealed(folder, save(weights()))
    (folder / WEIGHTS_NAME).unlink()
    os.mkfifo(folder / WEIGHTS_NAME)
    return load_folder(folder)


def a_url(folder: Path, canary: Path) -> Victim:
    """Given in place of a folder; the file behind it is sound."""
    sealed(folder, save(weights()))
    return load_folder(Path(folder.as_uri()))


# ---- What workers and golden traces exchange -----------------------------------------------------------------------


def object_array(folder: Path, canary: Path) -> Victim:
    np.savez(folder / "trace.npz", **{"loss@1": np.array([Payload(canary)], dtype=object)})
    return load_trace_of(folder / "trace.npz")


def load_trace_of(path: Path) -> Victim:
    from benchmarks.parity.trace import load_trace

    return lambda: load_trace(path)


def pickle_as_trace(folder: Path, canary: Path) -> Victim:
    (folder / "trace.npz").write_bytes(pickle.dumps(Payload(canary)))
    return load_trace_of(folder / "trace.npz")


def trace_slip(folder: Path, canary: Path) -> Victim:
    """An archive whose member wants to lie two folders further up."""
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    with zipfile.ZipFile(folder / "trace.npz", "w") as archive:
        archive.writestr("../../canary/loss@1.npy", stream.getvalue())
    return load_trace_of(folder / "trace.npz")


def pickle_as_arrays(folder: Path, canary: Path) -> Victim:
    from benchmarks.arrays_file import read_arrays

    (folder / "reply.safetensors").write_bytes(pickle.dumps(Payload(canary)))
    return lambda: read_arrays(folder / "reply.safetensors")


def results_bomb(folder: Path, canary: Path) -> Victim:
    from benchmarks.results_file import read_results

    (folder / "results.json").write_text('{"schema": 2, "agreement": ' + "[" * 200_000)
    return lambda: read_results(folder / "results.json")


# ---- Datasets ------------------------------------------------------------------------------------------------------


def bundle_slip(folder: Path, canary: Path) -> Victim:
    """A published archive, checksum and all, whose members want to lie elsewhere."""
    from core_torch.contract import sources

    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        archive.writestr(f"gzip/../../{canary.name}/x.gz", gzip.compress(b"x"))
        archive.writestr(f"{canary}/x", b"x")
    md5 = hashlib.md5((folder / "gzip.zip").read_bytes()).hexdigest()
    names = {"emnist-mnist-test-images-idx3-ubyte": ""}
    source = sources.Source("EMNIST", (folder.as_uri() + "/",), names, {}, ("gzip.zip", md5))
    return lambda: sources.repair(source, folder / "raw", dataset="emnist")


def images_for_ever(folder: Path, canary: Path) -> Victim:
    from core_torch.contract.idx import read_idx

    (folder / "images").symlink_to("/dev/zero")
    return lambda: read_idx(folder / "images", item_shape=(28, 28))


def gzip_bomb(folder: Path, canary: Path) -> Victim:
    from core_torch.contract.idx import read_idx

    count = 90_000  # 71 MB of zeros in 0.07 MB
    header = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28)
    (folder / "images.gz").write_bytes(gzip.compress(header + bytes(784 * count)))
    return lambda: read_idx(folder / "images.gz", item_shape=(28, 28))


# ---- Lightning's checkpoints ---------------------------------------------------------------------------------------


def lightning(content: Callable[[Path], dict], *, through: str) -> Callable[[Path, Path], Victim]:
    def attack(folder: Path, canary: Path) -> Victim:
        import torch

        from lightning_impl.checkpoint_io import read_checkpoint
        from lightning_impl.module import LitAutoencoder

        path = folder / "a.ckpt"
        torch.save({"pytorch-lightning_version": "2.6.6", "state_dict": {}} | content(canary), path)
        readers: dict[str, Callable] = {"io": read_checkpoint, "module": LitAutoencoder.load_from_checkpoint}
        return lambda: readers[through](path)

    return attack


def with_payload(canary: Path) -> dict:
    return {"callbacks": Payload(canary)}


def with_instantiator(canary: Path) -> dict:
    """CVE-2026-58659: the named function is imported and called with the other hyperparameters."""
    return {"hyper_parameters": {"_instantiator": "os.mkdir", "path": str(canary)}, "hparams_name": "kwargs"}


def lightning_url(folder: Path, canary: Path) -> Victim:
    from lightning_impl.module import LitAutoencoder

    return lambda: LitAutoencoder.load_from_checkpoint((folder / "a.ckpt").as_uri())


ATTACKS: dict[str, Callable[[Path, Path], Victim]] = {
    "a pickle as weights": with_weights(lambda canary: pickle.dumps(Payload(canary))),
    "torch.save as weights": with_weights(torch_zip),
    "a header of 2^63 bytes": with_weights(lambda _: header_of("{}", length=1 << 63)),
    "a header of a gigabyte": with_weights(lambda _: header_of("{}", length=1 << 30)),
    "a header nested without end": with_weights(lambda _: header_of('{"a":' * 50_000)),
    "a tensor larger than its file": with_weights(lambda _: tensors(("a", [10**9, 10**9], 0, 8), size=8)),
    "tensors that overlap": with_weights(lambda _: tensors(("a", [2], 0, 8), ("b", [2], 4, 12), size=12)),
    "bytes that belong to no tensor": with_weights(lambda _: tensors(("a", [1], 0, 4), size=99)),
    "a tensor named twice": with_weights(lambda _: tensors(("a", [1], 0, 4), ("a", [1], 4, 8), size=8)),
    "an offset below zero": with_weights(lambda _: tensors(("a", [1], -4, 0), size=4)),
    "a manifest entry given twice": with_manifest(lambda text: text[:-1] + ', "sha256": "0"}'),
    "a manifest nested without end": with_manifest(lambda text: '{"a":' * 100_000),
    "a manifest of 20 MB": with_manifest(lambda text: text + " " * 20_000_000),
    "a manifest with an endless number": with_manifest(lambda text: text.replace("784", "7" * 10_000, 1)),
    "a model of terabytes": with_entries(architecture=describe(FullyConnected(widths=(784, 10**9, 10**9)))),
    "a kind of model that is a module": with_entries(architecture={"kind": "os.mkdir", "path": "canary"}),
    "weights that are a device": linked(WEIGHTS_NAME, "/dev/zero"),
    "a manifest that is a device": linked(MANIFEST_NAME, "/dev/zero"),
    "a manifest that is another file": linked(MANIFEST_NAME, "/etc/passwd"),
    "weights that are a pipe": piped,
    "a digest that is a path": staged_elsewhere,
    "a URL as folder": a_url,
    "an object array in a trace": object_array,
    "a pickle as trace": pickle_as_trace,
    "a trace that slips out": trace_slip,
    "a pickle as a worker's reply": pickle_as_arrays,
    "results nested without end": results_bomb,
    "a bundle that slips out": bundle_slip,
    "images without end": images_for_ever,
    "images that inflate a thousandfold": gzip_bomb,
    "a pickle in a .ckpt": lightning(with_payload, through="io"),
    "a pickle in a .ckpt, for the module": lightning(with_payload, through="module"),
    "an instantiator in a .ckpt": lightning(with_instantiator, through="module"),
    "a URL as .ckpt": lightning_url,
}
