"""Lightning's side of the benchmark: a bare Trainer over a resident dataset, or one at its defaults."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from benchmarks.ports.per_image import PerImageDataset
from benchmarks.ports.timed_port import Case
from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import Split
from core_torch.spec.errors import check_choice
from core_torch.spec.recipe import Recipe
from core_torch.training.candidate import pin_precision
from lightning_impl.candidate import LightningCandidate
from lightning_impl.data import EpochOrder, ResidentBatches, with_targets

BAREBONES = {"barebones": True}
TRAINERS: dict[str, dict[str, Any]] = {
    "default": {},
    "no-extras": {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    },
    "barebones": BAREBONES,
}


class TimedLightning(LightningCandidate):
    """See `benchmarks.ports.timed_port.TimedPort`."""

    def __init__(self, case: Case, split: Split, recipe: Recipe) -> None:
        check_choice("variant", case.variant, ("lean", *TRAINERS))
        super().__init__(case.architecture, recipe, dtype=case.dtype, device=case.device)
        self.case = case
        self.count = len(split)
        if case.variant == "lean":
            self.dataset = ResidentDataset(split, device=self.device)
        else:
            self.loader: DataLoader[Any] = DataLoader(
                PerImageDataset(split), case.batch_size, shuffle=True, collate_fn=with_targets
            )
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)

    def epoch(self, epoch: int) -> int:
        """One `fit` of one epoch, the start and end of its Trainer included."""
        with quiet(), tempfile.TemporaryDirectory() as folder:
            options = TRAINERS.get(self.case.variant, BAREBONES)
            self._trainer(default_root_dir=folder, **options).fit(self.lit, self.batches(epoch))
        return self.count

    def batches(self, epoch: int) -> ResidentBatches | DataLoader[Any]:
        """What the Trainer is given."""
        if self.case.variant != "lean":
            return self.loader
        order = EpochOrder(self.count, seed=self.recipe.seed, first_epoch=epoch)
        return ResidentBatches(self.dataset, self.case.batch_size, sampler=order)

    def _trainer(self, **options: Any) -> L.Trainer:
        accelerator = "gpu" if self.device.type == "cuda" else self.device.type
        return L.Trainer(max_epochs=1, accelerator=accelerator, devices=1, **options)


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing printed, no warnings."""
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        warnings.catch_warnings(action="ignore"),
    ):
        yield


def prepare(case: Case, split: Split, recipe: Recipe) -> TimedLightning:
    """The timed port of a case."""
    pin_precision()
    return TimedLightning(case, split, recipe)
