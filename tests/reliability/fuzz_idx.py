"""Run by test_files_in.py: a fuzzer that follows the branches of the IDX reader, and ends at an error of another class.

Usage: fuzz_idx.py FOLDER RUNS [careless], which has it read by a reader that fails in one branch.
"""

import gzip
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["core_torch.spec", "core_torch.files"]):
    from core_torch.files.splits import read_images_and_labels
    from core_torch.spec.errors import DataFormatError

SECONDS, MEGABYTES = 5, 2_000  # at which libFuzzer gives up on one file
IMAGES = struct.pack(">4B3I", 0, 0, 8, 3, 2, 28, 28) + bytes(2 * 784)
LABELS = struct.pack(">4BI", 0, 0, 8, 1, 2) + b"\x03\x01"


class Reader:
    """Reads a pair of files of which one is the fuzzer's: images or labels, plain or compressed."""

    def __init__(self, folder: Path, *, read: Callable[[Path, Path], tuple[np.ndarray, np.ndarray]]) -> None:
        self.read = read
        self.paths = {name: folder / name for name in ("images", "images.gz", "labels", "labels.gz")}
        for name, path in self.paths.items():
            content = IMAGES if name.startswith("images") else LABELS
            path.write_bytes(gzip.compress(content) if path.suffix else content)
        self.sound = {name: path.read_bytes() for name, path in self.paths.items()}

    def __call__(self, content: bytes) -> None:
        """The first byte says which file the rest is."""
        name = [*self.paths][content[0] % len(self.paths)] if content else "images"
        self.paths[name].write_bytes(content[1:])
        pair = [self.paths[name if name.startswith(kind) else kind] for kind in ("images", "labels")]
        try:
            images, labels = self.read(*pair)
            if images.shape != (len(labels), 28, 28) or labels.min() < 0 or labels.max() > 9:
                raise RuntimeError(f"accepted {images.shape} and {labels.shape}")
        except DataFormatError as error:
            if len(str(error).splitlines()) != 1:
                raise RuntimeError(f"says {error!r}") from error
        finally:
            self.paths[name].write_bytes(self.sound[name])


def careless(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Believes the count of a header that is right until there."""
    content = images.read_bytes()
    if len(content) > 8 and content.startswith(IMAGES[:4]):
        np.frombuffer(content[16:], np.uint8).reshape(int.from_bytes(content[4:8], "big"), -1)
    return read_images_and_labels(images, labels)


if __name__ == "__main__":
    folder, runs, *how = Path(sys.argv[1]), *sys.argv[2:]
    read = Reader(folder, read=careless if how else read_images_and_labels)
    (folder / "corpus").mkdir()
    for number, content in enumerate(read.sound.values()):
        (folder / "corpus" / str(number)).write_bytes(bytes([number]) + content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # Linux counts in what the starting process had
    limits = [f"-runs={runs}", f"-timeout={SECONDS}", f"-rss_limit_mb={before + MEGABYTES}", "-max_len=4096", "-seed=1"]
    artefacts = f"-artifact_prefix={folder}/"
    atheris.Setup([sys.argv[0], *limits, artefacts, str(folder / "corpus")], read)
    atheris.Fuzz()
