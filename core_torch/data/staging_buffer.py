"""StagingBuffer: holds a chunk of a streamed split on the device while it is read."""

import torch


class StagingBuffer:
    """Hold the memory of one chunk on the device; for an accelerator also the pinned memory that it is copied from.

    Events stand between the two streams: a copy waits until the chunk before has been read, a reader for its copy.
    """

    def __init__(self, images: torch.Tensor, count: int, device: torch.device) -> None:
        self.images = images
        with torch.inference_mode(False):  # inference tensors cannot be modified from another thread
            self.codes = self.host = torch.empty((count, *images.shape[1:]), dtype=torch.uint8, device=device)
            if device.type == "cuda":
                self.host = torch.empty(self.codes.shape, dtype=torch.uint8, pin_memory=True)
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        if self.stream is not None:
            self.copied, self.read = torch.cuda.Event(), torch.cuda.Event()
            self.codes.record_stream(self.stream)  # not another's before the last copy is over
            self.release()

    def fill(self, rows: torch.Tensor) -> None:
        """Copy these images in, from the reader's thread or another one."""
        if self.stream is not None:
            self.copied.synchronize()  # the pinned memory is free again
        torch.index_select(self.images, 0, rows, out=self.host[: len(rows)])
        if self.stream is not None:
            with torch.cuda.stream(self.stream):
                self.stream.wait_event(self.read)
                self.codes[: len(rows)].copy_(self.host[: len(rows)], non_blocking=True)
                self.copied.record()

    def take(self, count: int) -> torch.Tensor:
        """Return the first `count` images, uint8, for the reader's stream, until `release`."""
        if self.stream is not None:
            torch.cuda.current_stream(self.codes.device).wait_event(self.copied)
        return self.codes[:count]

    def release(self) -> None:
        """Mark the buffer as free once the kernels enqueued so far have finished."""
        if self.stream is not None:
            self.read.record(torch.cuda.current_stream(self.codes.device))
