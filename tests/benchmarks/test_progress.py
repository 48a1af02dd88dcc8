"""The time left is judged by stages of the same kind."""

import time

import pytest

from benchmarks.timing.progress import Progress, duration


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """A clock whose time is set."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_is_known_once_every_kind_was_seen(clock):
    lines: list[str] = []
    progress = Progress(["prove", "prove", "train", "prove", "train"], lines.append)
    for seconds in (10, 30, 200):
        assert progress.seconds_left is None
        with progress.stage():
            clock[0] += seconds
    assert progress.seconds_left == 20 + 200
    progress.log("on")
    with progress.stage():
        clock[0] += 50
    progress.log("on")
    assert lines == ["[4/5, about 4 min left] on", "[5/5, about 3 min left] on"]


def test_a_duration_is_short():
    assert [duration(seconds) for seconds in (0.4, 119, 120, 3600)] == ["0 s", "119 s", "2 min", "60 min"]
