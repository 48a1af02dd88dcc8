"""Reference: the truth about a model, how far rounding strays from it, and what known bugs would answer."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Self

import numpy as np

from core_torch.files.atomic import write_atomically
from core_torch.files.safe_reading import read_regular
from core_torch.parity.recorded.fingerprints import Fingerprint
from core_torch.parity.recorded.questions import Questions, Trace
from core_torch.parity.recorded.trees import Arrays, Json, build_tree, describe_tree, flatten
from core_torch.spec.errors import DataFormatError

FORMAT = "core_torch.parity reference"
VERSION = 1


@dataclass(frozen=True)
class Reference:
    """What `record` returns; needs no torch.

    Attributes:
        name: of the model, as messages print it.
        questions: weights at the start and batches, which every candidate is given.
        truth: the float64 answers; packed tensors are in their parts.
        budget: {group: the worst relative error of legitimate float32 runs}.
        buffers: names of the weights that no gradient moves, running statistics for instance.
        parts: {parameter: names of its parts}; see `split_parts`.
        left_out: {group: why it is not compared}.
        layers: names of layers in the order in which they run.
        description: loss, optimizer and its numbers, kinds of layer, versions; for whoever writes the port.
        fingerprints: what known bugs of such a model would answer.
    """

    name: str
    questions: Questions
    truth: Trace
    budget: dict[str, float]
    buffers: tuple[str, ...] = ()
    parts: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    description: dict[str, Json] = field(default_factory=dict)
    fingerprints: tuple[Fingerprint, ...] = ()

    @property
    def weights(self) -> Arrays:
        """{name: array}: parameters and buffers at the start."""
        return self.questions.weights

    def save(self, path: str | PathLike[str]) -> None:
        """Write one safetensors file, sealed by its sha256; no pickle.

        Raises:
            CheckpointError: the file cannot be written.
        """
        from safetensors.numpy import save

        arrays = {f"weights/{name}": array for name, array in self.weights.items()}
        for number, (inputs, targets) in enumerate(self.questions.batches):
            arrays |= flatten(inputs, name=f"batch/{number}/inputs") | flatten(targets, name=f"batch/{number}/targets")
        arrays |= {f"truth/{key}": array for key, array in self.truth.items()}
        for number, fingerprint in enumerate(self.fingerprints):
            arrays |= {f"bug/{number}/{name}": array for name, array in fingerprint.to_arrays().items()}
        arrays = {name: np.array(array, order="C") for name, array in arrays.items()}
        text = json.dumps(self._settings())
        metadata = {"reference": text, "sha256": _seal(arrays, text)}
        write_atomically(Path(path), save(arrays, metadata))

    def _settings(self) -> dict[str, Json]:
        inputs, targets = self.questions.batches[0]
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "batches": len(self.questions.batches),
            "starts": self.questions.starts,
            "inputs": describe_tree(inputs),
            "targets": describe_tree(targets),
            "budget": self.budget,
            "buffers": self.buffers,
            "parts": self.parts,
            "left_out": self.left_out,
            "layers": self.layers,
            "description": self.description,
            "bugs": [fingerprint.name for fingerprint in self.fingerprints],
        }

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            DataFormatError: the file cannot be read, is something else, or was changed.
        """
        arrays, settings = _read(Path(path))
        try:
            return cls(
                settings["name"],
                _questions(arrays, settings),
                _under("truth/", arrays),
                settings["budget"],
                tuple(settings["buffers"]),
                settings["parts"],
                settings["left_out"],
                tuple(settings["layers"]),
                settings["description"],
                tuple(
                    Fingerprint.from_arrays(name, _under(f"bug/{number}/", arrays))
                    for number, name in enumerate(settings["bugs"])
                ),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise DataFormatError(f"{path}: is not a whole reference ({type(error).__name__}: {error})") from error


def _questions(arrays: Arrays, settings: Mapping[str, Json]) -> Questions:
    batches = tuple(
        (
            build_tree(settings["inputs"], arrays, name=f"batch/{number}/inputs"),
            build_tree(settings["targets"], arrays, name=f"batch/{number}/targets"),
        )
        for number in range(settings["batches"])
    )
    return Questions(_under("weights/", arrays), batches, tuple(settings["starts"]))


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _read(path: Path) -> tuple[Arrays, dict[str, Json]]:
    """The arrays and the settings of a file whose seal holds."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = read_regular(path)
        arrays = load(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        settings = json.loads(metadata["reference"])
    except OSError as error:
        raise DataFormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, LookupError, ValueError, TypeError, RecursionError) as error:
        raise DataFormatError(f"{path}: is not a reference, allowed: a file that Reference.save wrote") from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT or settings.get("version") != VERSION:
        raise DataFormatError(f"{path}: is not a reference of version {VERSION}")
    if metadata.get("sha256") != _seal(arrays, metadata["reference"]):
        raise DataFormatError(f"{path}: was changed since it was written")
    return arrays, settings


def _seal(arrays: Arrays, text: str) -> str:
    sha256 = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha256.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        sha256.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return sha256.hexdigest()
