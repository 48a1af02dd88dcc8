"""Callbacks of the commands: the curves of a run for TensorBoard, on every backend."""

from collections.abc import Mapping

import keras

from core_torch.files.event_files import EventFiles


class EventFilesCallback(keras.callbacks.Callback):
    """Write the values of each epoch as they come.

    Keras's own callback writes by TensorFlow, which clashes with triton where torch loads that.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.files = EventFiles(folder)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Write every value; epochs are counted from 1 in the files."""
        self.files.write(epoch + 1, logs or {})

    def on_train_end(self, logs: object = None) -> None:
        """Close the files."""
        self.files.close()
