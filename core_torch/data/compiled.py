"""CompiledDataset: batches of bytes gathered and converted in one pass, by a loop that Numba compiles.

Opt-in, for a processor. PyTorch gathers bytes, widens them and divides them in three passes, and at each image waits
for memory, since shuffled images lie apart; the loop here asks for images before it comes to them.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from core_torch.data.resident import ResidentDataset
from core_torch.data.storage import TensorStorage
from core_torch.files.splits import WHITE
from core_torch.spec.errors import ConfigError

PREFETCH_DISTANCE = 4  # images; 2 to 16 are as fast, none takes twice as long
CACHE_LINE = 64  # bytes that a processor fetches at once

# (codes (N, pixels) uint8, index (B,) int64, batch (B, pixels) float32) -> whether all of the index was in range
Gather = Callable[[np.ndarray, np.ndarray, np.ndarray], bool]


class CompiledDataset(ResidentDataset):
    """A `ResidentDataset` of bytes whose batches come by the compiled loop: the same pixels, bit for bit.

    Before `FastMNIST` or a sibling it is a mixin, `class CompiledMNIST(CompiledDataset, FastMNIST)`. Without Numba it
    warns, and gathers as its base does.

    Attributes:
        is_compiled: whether the loop is used.

    Args:
        residency: `uint8`, as the loop reads bytes.
        device: a CPU; elsewhere a gather and a conversion are two kernels, and wait for nothing.

    Raises:
        ConfigError: another residency or device.
    """

    is_compiled: bool

    def __init__(
        self, *arguments: Any, device: torch.device | str = "cpu", residency: str = "uint8", **options: Any
    ) -> None:
        if torch.device(device).type != "cpu" or residency != "uint8":
            raise ConfigError(f"residency: found {residency} on {device}, allowed when compiled: uint8 on cpu")
        super().__init__(*arguments, device=device, residency=residency, **options)
        try:
            gather_loop()  # compiled now, which takes a second or three, and not in the first batch
            self.is_compiled = True
            self.storage = CompiledStorage(self.data)
        except ImportError as error:  # also of a release that refuses this NumPy
            self.is_compiled = False
            warnings.warn(f"batches are gathered by PyTorch: {error}", stacklevel=2)


class CompiledStorage(TensorStorage):
    """Bytes that the compiled loop gathers."""

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        """See `Storage`. `IndexError` for an index out of range."""
        is_plain = index.dtype in (torch.int32, torch.int64) and index.dim() == 1
        if not (is_plain and self.residency == "uint8" and self.images.is_contiguous()):
            return super().gather(index)
        batch = torch.empty(len(index), *self.images.shape[1:], dtype=torch.float32)
        codes, rows = self.images.flatten(1).numpy(), batch.flatten(1).numpy()
        if not gather_loop()(codes, index.long().contiguous().numpy(), rows):
            raise IndexError(f"index: found one out of range, allowed: 0 to {len(self) - 1}")
        return batch


@cache
def gather_loop() -> Gather:
    """Compile the loop, once in a process."""
    import numba
    from numba import types
    from numba.extending import intrinsic

    prefetch = intrinsic(_prefetch)

    @numba.njit(types.boolean(types.uint8[:, ::1], types.int64[::1], types.float32[:, ::1]), nogil=True)
    def gather(codes: Any, index: Any, batch: Any) -> bool:
        count, width = codes.shape
        start, white = codes.ctypes.data, np.float32(WHITE)
        for number in range(len(index)):
            if not 0 <= index[number] < count:
                return False
            if number + PREFETCH_DISTANCE < len(index):
                image = start + index[number + PREFETCH_DISTANCE] * width
                for byte in range(0, width, CACHE_LINE):
                    prefetch(image + byte)
            source, target = codes[index[number]], batch[number]
            for pixel in range(width):
                target[pixel] = np.float32(source[pixel]) / white
        return True

    return gather


def _prefetch(context: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
    """Emit LLVM's prefetch for reading, which Numba does not offer; an address out of range is ignored."""
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, number, name = ir.IntType(8).as_pointer(), ir.IntType(32), "llvm.prefetch.p0i8"
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        to_read, keep, data = number(0), number(3), number(1)
        builder.call(function, [builder.inttoptr(arguments[0], pointer), to_read, keep, data])
        return context.get_dummy_value()

    return types.void(types.intp), generate
