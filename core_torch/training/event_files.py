"""The curves of a run as TensorBoard's event files, written epoch by epoch.

By tensorboardX: the writer of tensorboard itself loads TensorFlow where that is installed, which can abort PyTorch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core_torch.files.outputs import check_folder
from core_torch.spec.extras import check_installed
from core_torch.training.history import History

PACKAGE = "tensorboardX"


@contextmanager
def event_files(folder: str | None) -> Iterator[Callable[[History], None] | None]:
    """What `train` calls as `on_epoch`; None without a folder."""
    if folder is None:
        yield None
        return
    from tensorboardX import SummaryWriter

    with SummaryWriter(folder) as writer:

        def write(history: History) -> None:
            for name, values in history.curves().items():
                writer.add_scalar(name, values[-1], len(values))
            writer.flush()

        yield write


def check_event_files(folder: str) -> None:
    """`ConfigError` if they could not be written there."""
    check_folder("tensorboard", folder)
    check_installed(PACKAGE)
