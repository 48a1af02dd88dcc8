"""The doctor finds each thing that is planted, and nothing else."""

import os
import sys

import pytest

from benchmarks import __main__ as command
from benchmarks.timing import doctor


@pytest.fixture(autouse=True)
def healthy(monkeypatch, tmp_path) -> None:
    """An idle machine with two cores."""
    for name in ("CPU", "QUOTA", "MEMORY", "NVIDIA_DRIVER"):
        monkeypatch.setattr(doctor, name, tmp_path / name)
    for name in doctor.SINGLE_THREAD:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy>=1.26", 'torch>=2.10; extra == "torch"'])
    monkeypatch.setattr(doctor, "package_version", lambda name: "2.14.1+cpu")
    monkeypatch.setattr(doctor, "LARGEST_SPREAD", 100)


def advised() -> list[str]:
    return [finding.name for finding in doctor.findings() if finding.advice]


def test_a_healthy_machine_needs_nothing():
    assert advised() == []
    assert len(doctor.findings()) == len(doctor.CHECKS)


def test_a_busy_machine_is_found(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (1e3, 0, 0))
    assert advised() == ["load"]


def test_a_lone_core_and_a_quota_are_found(monkeypatch):
    (doctor.QUOTA).write_text("150000 100000\n")
    assert advised() == ["cores"]
    doctor.QUOTA.write_text("max 100000\n")
    assert advised() == []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert advised() == ["cores"]


def test_a_governor_that_saves_power_is_found():
    doctor.CPU.write_text("powersave\n")
    assert advised() == ["frequency"]
    doctor.CPU.write_text("performance\n")
    assert advised() == []


def test_little_memory_is_found():
    doctor.MEMORY.write_text("MemTotal: 99999999 kB\nMemAvailable:   1000000 kB\n")
    assert advised() == ["memory"]


def test_variables_that_will_not_count_are_found(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert advised() == []
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert advised() == ["threads"]


def test_an_old_package_is_found(monkeypatch):
    monkeypatch.setattr(doctor, "package_version", lambda name: {"numpy": "2.0", "torch": "2.9.1"}[name])
    assert [finding.found for finding in doctor.findings() if finding.advice] == ["torch 2.9.1 < 2.10"]


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (None, ["accelerator"]),
        ("H100, 0, 4, 1980", []),
        ("H100, 87, 4000, 1980", ["accelerator"]),
        ("H100, [N/A], 4000, 1980", []),
        ("H100, [N/A], 4, 1980\nH100, 5, 4, 1980", ["accelerator"]),
    ],
)
def test_an_accelerator_that_is_silent_or_in_use_is_found(monkeypatch, told, found):
    doctor.NVIDIA_DRIVER.write_text("")
    monkeypatch.setattr(doctor, "output_of", lambda command: told)
    assert advised() == found


def test_work_that_does_not_repeat_is_found(monkeypatch):
    monkeypatch.setattr(doctor, "LARGEST_SPREAD", -1)
    assert advised() == ["repeatability"]


@pytest.mark.parametrize(("load", "code"), [(0.0, 0), (1e3, 1)])
def test_the_command_exits_with_1_if_something_is_to_be_done(monkeypatch, capsys, tmp_path, load, code):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0, 0))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "doctor", "--json", str(tmp_path / "found.json")])
    with pytest.raises(SystemExit) as exited:
        command.main()
    assert exited.value.code == code
    assert ("ADVICE load" in capsys.readouterr().out) == bool(code)
    assert (tmp_path / "found.json").exists()
