"""Which residency a split can have on a device: float32, bytes, or, where it does not fit, streamed."""

import sys
import warnings
from pathlib import Path

import torch

from core_torch.data.resident import ResidentDataset
from core_torch.data.streaming import CHUNK_BYTES, StreamedDataset
from core_torch.files.splits import Split
from core_torch.spec.errors import check_integer

SHARE = 0.5  # of the free memory that a split may take; the rest is the model's
NO_MEMORY = "can't allocate memory"  # what torch's `RuntimeError` says of the host's


def resident_or_streamed(
    split: Split, *, device: torch.device | str = "cpu", limit_bytes: int | None = None
) -> ResidentDataset:
    """Store the split as float32, else as uint8, else streamed: the first that takes no more than `limit_bytes`.

    By default that is half of the free memory. If allocation still fails, the next storage is tried once. Warns unless
    the result is float32 (see `residency`). `ConfigError`: not even two images fit, which is what streaming needs.
    """
    device = torch.device(device)
    limit = int(SHARE * free_bytes(device)) if limit_bytes is None else limit_bytes
    check_integer("limit_bytes", limit, minimum=2 * split.image_bytes)
    needed = {"float32": 5 * split.images.size, "uint8": split.images.size, "streamed": 0}  # float32 is made of uint8
    first, *others = [residency for residency, size in needed.items() if size <= limit]
    try:
        dataset: ResidentDataset | None = _build(split, device, first, limit)
    except (MemoryError, RuntimeError) as error:
        if not others or not is_out_of_memory(error):
            raise
        dataset = None
    if dataset is None:  # only here: the error has kept what the first attempt had made
        dataset = _build(split, device, others[0], limit)
    if dataset.residency != "float32":
        warnings.warn(f"{split.name}: does not fit on {device} as float32, it is {dataset.residency}", stacklevel=2)
    return dataset


def is_out_of_memory(error: Exception) -> bool:
    """Say whether the device's or the host's memory has run out."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or NO_MEMORY in str(error)


def _build(split: Split, device: torch.device, residency: str, limit: int) -> ResidentDataset:
    if residency == "streamed":
        return StreamedDataset(split, device=device, chunk_bytes=min(CHUNK_BYTES, limit // 2))
    return ResidentDataset(split, device=device, residency=residency)


def free_bytes(device: torch.device) -> int:
    """Return the free memory there; no limit where the host does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        table = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(table["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return sys.maxsize
