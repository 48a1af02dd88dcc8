"""What is told besides time is counted, and left out where nothing tells it."""

import subprocess
import sys
import warnings

import pytest

from benchmarks.ports import core_torch as route_core_torch
from benchmarks.ports import resources
from benchmarks.ports.timed_port import Case
from benchmarks.ports.worker import TimedServer
from core_torch.data import residency
from core_torch.files.splits import synthetic
from core_torch.spec.recipe import Recipe

TORCH_STEP = """
import torch
from benchmarks.ports.resources import torch_calls
x = torch.ones(3)
print(torch_calls(lambda: x.add(x).mul(x)), torch_calls(lambda: None))
"""


def test_operators_are_counted_in_a_process_that_uses_torch():
    done = subprocess.run([sys.executable, "-c", TORCH_STEP], capture_output=True, text=True, check=True)
    counted = eval(done.stdout.partition("}")[0] + "}")
    assert counted["operators_per_step"] == 2
    assert done.stdout.strip().endswith("{}")


def test_without_torch_nothing_is_counted(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert resources.torch_calls(lambda: None) == {}


@pytest.fixture
def meter(monkeypatch, tmp_path):
    """A counter of microjoules, a clock, and a processor that takes 2 watts idle and 5 more at work."""
    counter = tmp_path / "energy_uj"
    now = [0.0]

    def spend(seconds: float, *, watts: float) -> None:
        now[0] += seconds
        counter.write_text(str(int(float(counter.read_text()) + seconds * watts * 1e6)))

    counter.write_text("1000")
    monkeypatch.setattr(resources.time, "sleep", lambda seconds: spend(seconds, watts=2))
    monkeypatch.setattr(resources.time, "perf_counter", lambda: now[0])
    meter = resources.processor_meter(counter)
    monkeypatch.setattr(resources, "processor_meter", lambda: meter)
    return spend


def test_energy_is_told_above_that_of_the_idle_device(meter):
    def epoch() -> int:
        meter(1.0, watts=7)
        return 100

    assert resources.energy_per_image(epoch, device="cpu") == pytest.approx(0.05)


def test_a_counter_that_cannot_be_read_tells_nothing(tmp_path, monkeypatch):
    assert resources.processor_meter(tmp_path / "none") is None
    monkeypatch.setattr(resources, "processor_meter", lambda: None)
    assert resources.energy_per_image(lambda: 1, device="cpu") is None


def test_without_nvidia_s_library_there_is_no_meter(monkeypatch):
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(resources.ctypes, "CDLL", absent)
    assert resources.nvidia_meter() is None


def test_a_split_that_does_not_fit_is_trained_on_as_bytes_and_the_worker_says_so(tmp_path, monkeypatch):
    split = synthetic(100)
    server = TimedServer(tmp_path, "benchmarks.ports.core_torch")
    for share_of_float32, said in ((2.0, None), (0.5, "uint8")):
        free = int(share_of_float32 * 5 * split.images.size / residency.SHARE)
        monkeypatch.setattr(residency, "free_bytes", lambda device, free=free: free)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            server.candidate = route_core_torch.prepare(Case(framework="core_torch"), split, Recipe())
        assert bool(warned) == bool(said)
        assert server.describe({})["settings"].get("fell back to") == said
        assert server.candidate.epoch(0) == len(split)
