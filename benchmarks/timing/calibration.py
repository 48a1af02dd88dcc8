"""What a device takes for the operations that a step is made of: measured alone, before the contenders, and kept.

An estimate of a step adds these up; its own time beside them is what a framework adds, or saves by fusing.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import numpy as np
import torch

from benchmarks.ports.timed_port import Case
from benchmarks.timing.floors import products, record_graph
from core_torch.data.resident import RESIDENCIES, ResidentDataset
from core_torch.files.splits import Split
from core_torch.spec.architecture import architecture_named
from core_torch.spec.recipe import Recipe
from core_torch.training.candidate import pin_precision

BATCH_SIZES = (32, 512, 1000)
MODELS = ("shallow", "deep")
NODES = 200  # launches that are recorded as one graph
MEGABYTES = (0.4, 4, 64)  # of a copy from pinned memory: 512 images as bytes, 1,300 as float32; and a whole split
REPETITIONS, LEAST_SECONDS = 5, 0.02

Run = Callable[[], object]


class Calibration:
    """The figures of a device, one after another."""

    def __init__(self, device: str, split: Split) -> None:
        self.device, self.split = torch.device(device), split
        self.is_cuda = self.device.type == "cuda"

    def figures(self) -> dict[str, np.ndarray]:
        """{operation: microseconds}."""
        return {name: np.array(1e6 * seconds) for name, seconds in self._seconds()}

    def _seconds(self) -> Iterator[tuple[str, float]]:
        yield from self._launches()
        for model in MODELS:
            for batch_size in BATCH_SIZES:
                yield from self._products(model, batch_size)
        for residency in RESIDENCIES:
            dataset = ResidentDataset(self.split, device=self.device, residency=residency)
            for batch_size in BATCH_SIZES:
                index = torch.randint(len(dataset), (batch_size,), device=self.device)
                yield f"gather of {batch_size:,} images, {residency}", self._time(partial(dataset.gather, index))
        yield from self._copies()

    def _launches(self) -> Iterator[tuple[str, float]]:
        number = torch.zeros((), device=self.device)

        def launch(count: int) -> None:
            for _ in range(count):
                number.add_(1)

        yield "launch", self._time(lambda: launch(NODES)) / NODES
        if self.is_cuda:
            yield "launch of a graph of one", self._time(record_graph(lambda: launch(1)))
            yield f"launch in a graph of {NODES}", self._time(record_graph(lambda: launch(NODES))) / NODES

    def _products(self, model: str, batch_size: int) -> Iterator[tuple[str, float]]:
        """Of a step: in float32, on a GPU in TF32 and bfloat16 too, launched one by one and as a graph."""
        named = f"products of a {model} step, batch {batch_size:,}"
        shapes = products(architecture_named(model), batch_size)
        for precision in ("float32", "TF32", "bfloat16") if self.is_cuda else ("float32",):
            kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
            new = partial(torch.rand, device=self.device, dtype=kind)
            operands = [(new(m, k), new(k, n), new(m, n)) for m, k, n in shapes]
            torch.set_float32_matmul_precision("high" if precision == "TF32" else "highest")
            multiply = partial(_multiply, operands)
            yield f"{named}, {precision}", self._time(multiply)
            if self.is_cuda:
                yield f"{named}, {precision}, in a graph", self._time(record_graph(multiply))
        pin_precision()

    def _copies(self) -> Iterator[tuple[str, float]]:
        """From pinned memory, where there is somewhere to copy to."""
        for megabytes in MEGABYTES if self.is_cuda else ():
            source = torch.empty(int(megabytes * 1e6), dtype=torch.uint8, pin_memory=True)
            target = torch.empty_like(source, device=self.device)
            yield f"copy of {megabytes:g} MB", self._time(partial(target.copy_, source, non_blocking=True))

    def _time(self, run: Run) -> float:
        """Seconds of one, by the wall clock, the device being done; as many at once as take long enough."""
        run()
        count, taken = 1, 0.0
        while taken < LEAST_SECONDS:
            count *= 2
            taken = self._taken(run, count)
        return median(self._taken(run, count) for _ in range(REPETITIONS)) / count

    def _taken(self, run: Run, count: int) -> float:
        self._wait()
        started = time.perf_counter()
        for _ in range(count):
            run()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize(self.device)


def _multiply(operands: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> None:
    for left, right, product in operands:
        torch.mm(left, right, out=product)


def prepare(case: Case, split: Split, recipe: Recipe) -> Calibration:
    """That of the case's device."""
    pin_precision()
    return Calibration(case.device, split)
