"""What the harness's tests share: variants written for the occasion, a small split, and results to read."""

import os
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ports.sample import Sample
from benchmarks.report.results_file import Results
from benchmarks.timing.evidence import Evidence
from benchmarks.timing.intervals import Interval, speed_ratio
from core_torch.files.splits import Split, load_split
from core_torch.parity.judge import Check

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def digits() -> Split:
    """As few real images as the agreement's ten batches leave possible."""
    return load_split("digits").take(np.arange(600))


@pytest.fixture
def write_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Writes a module that workers can import and returns its name."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tmp_path, ROOT))))

    def write(name: str, source: str) -> str:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        return name

    return write


@pytest.fixture
def results() -> Results:
    """A run in which one framework agreed and was timed, and one was refused."""
    environment = {"cpu": "a cpu", "versions": {"numpy": "2.0"}, "busy": False}
    results = Results(["python", "-m", "benchmarks"], environment, "digits")
    results.add_checks([Check("shallow", "core_torch", "outputs", 1e-7, 1e-6, True)])
    results.add_checks([Check("shallow", "keras-jax", "shapes", float("inf"), 0.0, False)])
    results.refuse("shallow, keras-jax", "disagrees at: shapes")
    ratios = {"slow": Interval(1.0, 1.0, 1.0), "fast": Interval(4.0, 3.8, 4.2)}
    for contender, ratio in ratios.items():
        time(results, contender, ratio)
        profile = {"case": "loading", "contender": contender, "settings": {}, "microseconds_per_image": {"total": 10.0}}
        results.profiles.append(profile)
    floor = samples_of(Interval(16.0, 15.2, 16.8))
    for clock in ("cpu", "wall"):
        times = {label: speed_ratio(samples_of(ratio), floor, clock=clock) for label, ratio in ratios.items()}
        results.add_floor("loading", "copy", floor, clock=clock, times=times)
    return results


def samples_of(ratio: Interval) -> list[Sample]:
    """Times that are so many times as fast as one second of processor time for 100 images."""
    times = (ratio.low, ratio.median, ratio.high)
    return [Sample(wall=2 / faster, cpu=1 / faster, images=100) for faster in times]


def time(results: Results, contender: str, ratio: Interval) -> None:
    """Proved, and then timed by both clocks."""
    samples = samples_of(ratio)
    ids = results.add_checks([Check("loading", contender, "same images, shuffled", 0.0, 0.0, True)])
    for clock in ("cpu", "wall"):
        results.add_measurement("loading", contender, samples, clock=clock, evidence=Evidence(ids, "0" * 16))
        results.add_ratio("loading", contender, baseline="slow", ratio=ratio, pairs=len(samples), clock=clock)
