"""Checkpoints: a run that is cut short, whenever that is, goes on as if it had not been."""

import hashlib
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from types import FrameType

from core_torch.data.resident import ResidentDataset
from core_torch.data.storage import GATHER_SIZE, to_unit_range
from core_torch.files.locks import hold
from core_torch.files.outputs import prepare_output
from core_torch.files.run_state import as_stored, check_same_run
from core_torch.files.weights import MANIFEST_NAME, WEIGHTS_NAME, load_arrays, save_arrays
from core_torch.spec.errors import CheckpointError, check_integer
from core_torch.training.state import TrainingState

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Checkpoints:
    """A folder from which `train` goes on, and in which it saves.

    It saves every so many steps, at the end, and at SIGINT or SIGTERM, once the step at hand is complete: the signal
    then has its usual effect. A save replaces the one before when it is whole. On a CPU the run that goes on ends
    with the same bits as one that was never cut short.

    Args:
        folder: of its own; it is created.
        every: steps from one save to the next.
        metadata: what else makes it this run, as JSON.

    Attributes:
        seconds: of training that earlier processes put in.
    """

    def __init__(self, folder: Path, *, every: int, metadata: Mapping[str, object] | None = None) -> None:
        check_integer("checkpoint_every", every, minimum=1)
        self.folder, self.every, self.metadata, self.seconds = folder, every, dict(metadata or {}), 0.0

    def exist(self) -> bool:
        """Say whether there is something to go on from."""
        return (self.folder / MANIFEST_NAME).exists()

    def remove(self) -> None:
        """Delete what was saved: the run is over, and its results are elsewhere."""
        try:
            with hold(self.folder):
                for name in (MANIFEST_NAME, WEIGHTS_NAME):
                    for path in (self.folder / name, *self.folder.glob(f".*{name}-*")):  # and what a killed save left
                        path.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be removed ({error.strerror})") from error
        with suppress(OSError):  # also where somebody else keeps a file there
            self.folder.rmdir()

    @contextmanager
    def autosave(self, state: TrainingState, *, run: dict[str, object]) -> Iterator[None]:
        """Go on from what the folder holds; inside, save as `state.monitor` counts steps.

        Args:
            run: what makes it this run, as JSON; that of the folder has to be equal.

        Raises:
            CheckpointError: the folder holds another run, is damaged, is another process's, or cannot be written to.
        """
        with hold(self.folder):
            yield from self._autosave(state, run=as_stored(self.metadata | run))

    def _autosave(self, state: TrainingState, *, run: Mapping[str, object]) -> Iterator[None]:
        """Do what `autosave` does, in a folder that nobody else writes to."""
        if self.exist():
            self._load(state, run)
        prepare_output(self.folder)
        received: list[int] = []
        steps = count(1)

        def save() -> None:
            state.monitor.check()
            save_arrays(self.folder, state.arrays(), metadata=state.numbers() | {"run": run})

        def after_step() -> None:
            if next(steps) % self.every == 0 or received:
                save()
            if received:
                signal.raise_signal(received.pop())

        state.monitor.after_step = after_step
        with _defer_signals(received):
            yield
            save()
        if received:
            signal.raise_signal(received.pop())

    def _load(self, state: TrainingState, run: Mapping[str, object]) -> None:
        arrays, manifest = load_arrays(self.folder)
        check_same_run(self.folder, manifest.get("run"), run)
        state.restore(arrays, manifest, where=str(self.folder))
        self.seconds = sum(state.history.seconds) + state.monitor.seconds


@contextmanager
def _defer_signals(received: list[int]) -> Iterator[None]:
    """Only note the first signal of this kind; the next has its usual effect, as has any afterwards."""
    if threading.current_thread() is not threading.main_thread():  # which alone may set handlers
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    usual = {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()

    for number in usual:
        signal.signal(number, note)
    try:
        yield
    finally:
        restore()


def dataset_hash(dataset: ResidentDataset | None) -> str | None:
    """Hash a dataset's inputs and targets, wherever they live, as floats or bytes; None without a dataset."""
    if dataset is None:
        return None
    sha256 = hashlib.sha256()
    for tensor in (dataset.data, dataset.targets):
        sha256.update(f"{to_unit_range(tensor[:0]).dtype} {tuple(tensor.shape)} ".encode())
        for images in tensor.split(GATHER_SIZE):
            sha256.update(to_unit_range(images).cpu().contiguous().numpy().data)
    return sha256.hexdigest()
