"""A device's own operations are measured, each once, and kept beside the machine; on a CPU where no graph is needed."""

import time

import numpy as np
import pytest
import torch

from benchmarks.report.results_file import Results
from benchmarks.runner import Runner
from benchmarks.suites import SUITES, Suite
from benchmarks.timing import calibration
from benchmarks.timing.calibration import BATCH_SIZES, MEGABYTES, MODELS, Calibration
from core_torch.data.resident import RESIDENCIES
from core_torch.files.splits import Split
from core_torch.parity.external import WorkerError

SHAPES = len(MODELS) * len(BATCH_SIZES)
GATHERS = len(RESIDENCIES) * len(BATCH_SIZES)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(calibration, "LEAST_SECONDS", 1e-4)
    monkeypatch.setattr(calibration, "REPETITIONS", 1)


def test_every_operation_has_a_time(short, digits: Split):
    figures = Calibration("cpu", digits).figures()
    assert len(figures) == 1 + SHAPES + GATHERS
    assert all(float(value) > 0 for value in figures.values())
    assert figures["gather of 1,000 images, uint8"] > figures["gather of 32 images, uint8"]
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_time_is_of_one_operation(monkeypatch, digits: Split):
    found = Calibration("cpu", digits)._time(lambda: time.sleep(0.002))
    assert found >= 0.002


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_graphs_precisions_and_copies_too(short, digits: Split):
    figures = Calibration("cuda", digits).figures()
    assert len(figures) == 3 + 6 * SHAPES + GATHERS + len(MEGABYTES)
    assert all(float(value) > 0 for value in figures.values())


class Asked:
    """In place of a worker."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def prepare(self, case, split, recipe):
        assert case.device == "cuda"

    def figures(self):
        return {"launch": np.array(5.5)}


def calibrated(monkeypatch, digits: Split, *, device: str, start) -> Results:
    results = Results([], {"cpu": "a cpu", "versions": {}, "device": device}, "digits")
    nothing = {"log": lambda line: None, "save": lambda: None}
    runner = Runner(results, digits, names=[], device=device, seed=0, **nothing)
    monkeypatch.setattr(runner.recorder, "start", start)
    runner.run(Suite(is_calibrated=True))
    return results


def test_the_full_suite_keeps_what_a_gpu_takes_and_asks_no_processor(monkeypatch, digits: Split):
    assert SUITES["full"].is_calibrated
    start = lambda *given, **named: Asked()  # noqa: E731
    assert calibrated(monkeypatch, digits, device="cuda", start=start).environment["calibration"] == {"launch": 5.5}
    assert "calibration" not in calibrated(monkeypatch, digits, device="cpu", start=start).environment


def test_where_it_cannot_be_done_it_is_refused(monkeypatch, digits: Split):
    def start(*given, **named):
        raise WorkerError("no such device")

    (row,) = calibrated(monkeypatch, digits, device="cuda", start=start).refused
    assert row == {"case": "calibration", "reason": "no such device"}
