"""A split that does not fit on its device: it stays on the host as bytes, and chunks of it are on the device in turn.

Where the images are in the host's memory the order is the contract's, the same as of a resident split. Of a memory map,
where far apart reads cost, it is quasi-random: see `quasi_random_order`.
"""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import numpy as np
import torch

from core_torch.data.resident import Batch, ResidentDataset
from core_torch.data.staging_buffer import StagingBuffer
from core_torch.data.storage import Place, TensorStorage, gather_size, to_unit_range
from core_torch.files.splits import Split
from core_torch.spec.batch_order import epoch_order
from core_torch.spec.errors import ConfigError, check_integer

CHUNK_BYTES = 2 << 20  # of one chunk, some 2,700 of MNIST's images; the host's caches hold it
PAGE = 64  # images that lie beside each other and are shuffled as one
WINDOW = 16_384  # images of a memory map that are shuffled one by one


def quasi_random_order(count: int, *, window: int, seed: int, epoch: int) -> np.ndarray:
    """Shuffle pages of `PAGE` neighbours, then the images of each `window` of them: a permutation (count,) int64.

    Reads stay in `window / PAGE` stretches of the file at a time. Two images of one page meet in a batch of B with
    probability B / window instead of B / count; images of different pages as in a full shuffle. With a window of
    `count` or more it is the contract's `epoch_order`.
    """
    if window >= count:
        return epoch_order(count, seed=seed, epoch=epoch)
    generator = np.random.default_rng([seed, epoch, count, window])
    pages = generator.permutation(-(-count // PAGE))
    order = (pages[:, None] * PAGE + np.arange(PAGE)).reshape(-1)
    order = order[order < count]  # the last page is short
    for start in range(0, count, window):
        generator.shuffle(order[start : start + window])
    return order


class HostStorage:
    """Bytes of the host, from which batches go to a device.

    Attributes:
        whole: (M, 1, 28, 28) uint8, also of a memory map; never copied.
        rows: (N,) int64, which of them are these images; None: all.
    """

    def __init__(self, whole: torch.Tensor, device: torch.device, rows: torch.Tensor | None = None) -> None:
        self.whole, self.device, self.is_whole = whole, device, rows is None
        self.rows = torch.arange(len(whole)) if rows is None else rows
        self.residency = "streamed"

    @property
    def images(self) -> torch.Tensor:
        """All of them; of a part of a split, a copy."""
        return self.whole if self.is_whole else self.whole[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, place: Place) -> torch.Tensor:
        """See `Storage`."""
        return to_unit_range(self.whole[self.rows[place]].to(self.device))

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        """See `Storage`."""
        return to_unit_range(self.whole.index_select(0, self.rows[index.cpu()]).to(self.device))

    def subset(self, index: torch.Tensor) -> Self:
        """See `Storage`; no image is copied."""
        return type(self)(self.whole, self.device, self.rows[index.cpu()])

    def with_images(self, images: torch.Tensor) -> TensorStorage:
        """See `Storage`; others are held on their device."""
        return TensorStorage(images)


class StreamedDataset(ResidentDataset):
    """Images on the host, batches on the device; two chunks are there at a time: one in use, one on its way.

    Attributes:
        data: (N, 1, 28, 28) uint8 on the host; of a part of a split, a copy.
        targets: (N, 784), the memory of `data`.
        labels: (N,) int64 on the device.
        in_background: whether a thread fills the chunk on its way; not on a CPU, which has to do both.

    Args:
        split: its images may be a memory map, see `map_idx`.
        device: where batches go.
        chunk_bytes: of one of the two chunks.
        window: images that are shuffled one by one; by default all, but `WINDOW` of a memory map.
    """

    storage: HostStorage

    def __init__(
        self,
        split: Split,
        *,
        device: torch.device | str = "cpu",
        chunk_bytes: int = CHUNK_BYTES,
        window: int | None = None,
    ) -> None:
        if split.images.dtype != np.uint8:
            raise ConfigError(f"images: found {split.images.dtype}, allowed when streamed: uint8")
        default = WINDOW if isinstance(split.images, np.memmap) else max(len(split), 1)
        self.window = default if window is None else window
        check_integer("window", self.window, minimum=1)
        check_integer("chunk_bytes", chunk_bytes, minimum=split.image_bytes)
        self.chunk = chunk_bytes // split.image_bytes  # images
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a read-only array: nothing writes to it
            images = torch.from_numpy(split.images)
        self.storage = HostStorage(images.reshape(len(images), 1, *images.shape[1:]), torch.device(device))
        self.in_background = torch.device(device).type != "cpu"
        self.labels = torch.tensor(split.labels, device=device)

    def order(self, *, seed: int = 0, epoch: int = 0) -> np.ndarray:
        """Return which image comes when in `batches` of that seed and epoch, (N,) int64."""
        return quasi_random_order(len(self), window=self.window, seed=seed, epoch=epoch)

    def _order(self, *, shuffle: bool, seed: int, epoch: int, generator: torch.Generator | None) -> torch.Tensor:
        if shuffle and generator is None:
            return torch.from_numpy(self.order(seed=seed, epoch=epoch))
        return super()._order(shuffle=shuffle, seed=seed, epoch=epoch, generator=generator).cpu()

    def _deliver(self, order: torch.Tensor, batch_size: int) -> Iterator[Batch]:
        if batch_size > self.chunk:
            raise ConfigError(f"batch_size: found {batch_size}, allowed at most a chunk: {self.chunk}")
        return self._stream(self.storage.rows[order].split(self.chunk - self.chunk % batch_size), batch_size)

    def _stream(self, chunks: tuple[torch.Tensor, ...], batch_size: int) -> Iterator[Batch]:
        slots = [StagingBuffer(self.storage.whole, len(chunks[0]), self.device) for _ in chunks[:2]]
        with ThreadPoolExecutor(1) as thread:
            submit = thread.submit if self.in_background else at_once
            filled = submit(slots[0].fill, chunks[0])
            for number, chunk in enumerate(chunks):
                filled.result()
                if number + 1 < len(chunks):
                    filled = submit(slots[1 - number % 2].fill, chunks[number + 1])
                for codes in slots[number % 2].take(len(chunk)).split(gather_size(batch_size)):
                    inputs = to_unit_range(codes)
                    yield from zip(inputs.unsafe_split(batch_size), inputs.flatten(1).unsafe_split(batch_size))
                slots[number % 2].release()


def at_once(function: Callable[[torch.Tensor], None], argument: torch.Tensor) -> Future[None]:
    """Run at once, with the signature of an executor's `submit`."""
    function(argument)
    done: Future[None] = Future()
    done.set_result(None)
    return done
