"""EventFiles: the curves of a run for TensorBoard, on every backend."""

from typing import Any

import keras


class EventFiles(keras.callbacks.Callback):
    """Writes the values of each epoch, counted from 1, as they come.

    By tensorboardX: Keras's own callback writes by TensorFlow, which clashes with triton where torch loads that.
    """

    def __init__(self, folder: str) -> None:
        from tensorboardX import SummaryWriter

        super().__init__()
        self.writer = SummaryWriter(folder)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Every value is in the file when this returns."""
        for name, value in (logs or {}).items():
            self.writer.add_scalar(name, value, epoch + 1)
        self.writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        """Close the file."""
        self.writer.close()
