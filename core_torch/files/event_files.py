"""The curves of a run as TensorBoard's event files, written epoch by epoch.

By tensorboardX: the writer of tensorboard itself loads TensorFlow where that is installed, which can abort PyTorch.
"""

from collections.abc import Mapping

from core_torch.files.outputs import check_folder
from core_torch.spec.extras import check_installed

PACKAGE = "tensorboardX"


class EventFiles:
    """The event files of one run, in a folder that is created."""

    def __init__(self, folder: str) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(folder)

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the values of an epoch, counted from 1; they are in the file when this returns."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        self._writer.close()


def check_event_files(folder: str) -> None:
    """Raise `ConfigError` if event files could not be written there."""
    check_folder("tensorboard", folder)
    check_installed(PACKAGE)
