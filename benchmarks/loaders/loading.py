"""The loading benchmark: contenders, and the proof that each delivers the same images, shuffled, once each."""

import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.ports.frameworks import Framework
from core_torch.files.splits import Split, to_unit_range

_TORCH = Framework(
    "benchmarks.loaders.pytorch",
    {
        "dataloader": "DataLoader(MNIST, ToTensor), 0 workers: the tutorial",
        "dataloader-2-workers": "the same with 2 worker processes",
        "dataloader-8-workers": "with 8 that last, and pinned memory",
        "tensor-dataset": "DataLoader(TensorDataset)",
        "getitems": "DataLoader over a dataset with __getitems__",
        "batch-sampler": "DataLoader(sampler=BatchSampler, batch_size=None)",
        "permutation-sampler": "the same, its sampler yields tensors of indices",
        "fast-mnist-dataloader": "FastMNIST inside a DataLoader, one image at a time",
        "fast-mnist-float32": "FastMNIST, float32 residency",
        "fast-mnist-uint8": "FastMNIST, uint8 residency, converted per batch",
        "fast-mnist-compiled": "the same, gathered and converted in one pass by a compiled loop",
        "fast-mnist-streamed": "the same images on the host, chunks of them on the device",
        "permuted": "the whole split gathered once an epoch into one buffer, batches are slices of it",
    },
)
_TENSORFLOW = Framework(
    "benchmarks.loaders.tensorflow",
    {
        "tf.data": "images shuffled, batched and prefetched, one by one",
        "tf.data-cache": "uint8 converted by map, cached, then as tf.data",
        "tf.data-gather": "indices shuffled and batched, a batch is one gather",
    },
)
LOADERS = dict.fromkeys(_TORCH.variants, _TORCH) | dict.fromkeys(_TENSORFLOW.variants, _TENSORFLOW)
BASELINE = "dataloader"
# Only a case with extras times these.
EXTRA_LOADERS = frozenset(
    {"dataloader-2-workers", "fast-mnist-dataloader", "fast-mnist-streamed", "permuted", "tf.data-cache"}
)
WORKERS = ("dataloader-2-workers", "dataloader-8-workers")
UNPINNED_LOADERS = frozenset(WORKERS)  # need other cores for their workers
CPU_ONLY, GPU_ONLY = frozenset({"fast-mnist-compiled"}), frozenset({"dataloader-8-workers"})


def choose_variants(frameworks: Collection[str], *, device: str, extras: bool) -> list[str]:
    """The loaders to time beside these frameworks; tf.data only where TensorFlow is asked for."""
    absent = (frozenset() if extras else EXTRA_LOADERS) | (GPU_ONLY if device == "cpu" else CPU_ONLY)
    named = [variant for variant in LOADERS if variant not in absent]
    return [variant for variant in named if variant not in _TENSORFLOW.variants or "keras-tensorflow" in frameworks]


@dataclass
class LoadingTrial:
    """A loader as the harness sees it."""

    rows: Callable[[int], Iterator[np.ndarray]]  # epoch -> batches (B, pixels) float32
    epoch: Callable[[int], int]  # run one epoch; the number of images delivered

    def checksums(self, epoch: float) -> np.ndarray:
        """CRC-32 of every image in the order delivered, (N,) uint32."""
        return np.concatenate([checksums(batch) for batch in self.rows(int(epoch))])


def checksums(rows: np.ndarray) -> np.ndarray:
    """CRC-32 of each row's bytes: equal only if the pixels are equal bit for bit."""
    return np.array([zlib.crc32(row) for row in np.ascontiguousarray(rows)], dtype=np.uint32)


def wrong_images(delivered: np.ndarray, split: Split) -> int:
    """How many images of an epoch were missing, repeated, altered, or all of them if nothing was shuffled."""
    expected = checksums(to_unit_range(split.images).reshape(len(split), -1))
    if np.array_equal(delivered, expected):
        return len(expected)
    found, due = Counter(delivered.tolist()), Counter(expected.tolist())
    return max((due - found).total(), (found - due).total())
