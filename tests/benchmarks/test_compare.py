"""`compare` fails for a ratio that was lost, and only for that."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.ports.sample import Sample
from benchmarks.report.compare import compare, find_refuted
from benchmarks.report.results_file import Results, row_id
from benchmarks.timing.evidence import Evidence
from benchmarks.timing.intervals import Interval, interval
from core_torch.parity.judge import Check
from core_torch.spec.errors import DataFormatError

ROOT = Path(__file__).parents[2]
Write = Callable[..., Path]
OLD = (10.0, 9.0, 11.0)  # median, low, high


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file with one ratio per contender."""

    def write(name: str, **ratios: tuple[float, float, float]) -> Path:
        results = Results([], {"cpu": "a cpu", "versions": {}}, "digits")
        for contender, ratio in (ratios | {"slow": (1.0, 1.0, 1.0)}).items():
            proof = results.add_checks([Check("loading", contender, "same images", 0.0, 0.0, True)])
            work, told = Evidence(proof, "0"), Interval(*ratio)
            samples = [Sample(1.0, 1 / faster, 10) for faster in (told.low, told.median, told.high)]
            results.add_measurement("loading", contender, samples, clock="cpu", evidence=work)
            if contender in ratios:
                results.add_ratio("loading", contender, baseline="slow", ratio=told, pairs=3, clock="cpu")
        results.write(tmp_path / f"{name}.json")
        return tmp_path / f"{name}.json"

    return write


@pytest.mark.parametrize(
    ("new", "kept", "distinguishable"),
    [
        (OLD, True, False),
        ((5.0, 4.0, 6.0), False, True),
        ((20.0, 19.0, 21.0), True, True),
        # Half as fast, but the intervals overlap.
        ((5.0, 1.0, 9.5), True, False),
        # Certainly slower, but by less than the threshold.
        ((8.99, 8.98, 8.995), False, True),
        ((9.001, 8.9, 9.002), True, False),
    ],
)
def test_a_ratio_is_lost_if_it_fell_past_the_threshold_and_the_intervals_are_apart(write, new, kept, distinguishable):
    (row,), found = compare(write("old", fast=OLD), write("new", fast=new))
    assert (found, row["lost"]) == (kept, not kept)
    assert row["distinguishable"] == distinguishable
    assert (row["old"], row["new"]) == (OLD[0], new[0])
    assert row["change"] == pytest.approx(new[0] / OLD[0] - 1)


def test_the_threshold_is_an_argument(write):
    files = write("old", fast=OLD), write("new", fast=(7.5, 7.4, 7.6))
    kept = {share: compare(*files, threshold=share)[1] for share in (0.2, 0.24, 0.26, 0.5)}
    assert kept == {0.2: False, 0.24: False, 0.26: True, 0.5: True}


def test_one_lost_ratio_among_many_fails(write):
    old = write("old", a=OLD, b=OLD, c=OLD)
    rows, kept = compare(old, write("new", a=OLD, b=(2.0, 1.9, 2.1), c=OLD))
    assert not kept
    assert [row["contender"] for row in rows if row["lost"]] == ["b"]


def test_a_new_contender_is_left_out(write):
    rows, kept = compare(write("old", b=OLD), write("new", b=OLD, c=OLD))
    assert ([row["contender"] for row in rows], kept) == (["b"], True)


def test_a_contender_gone_from_a_case_that_ran_again_is_lost(write):
    rows, kept = compare(write("old", a=OLD, b=OLD), write("new", b=OLD))
    assert {row["contender"]: row["lost"] for row in rows} == {"a": True, "b": False}
    assert not kept


@pytest.mark.parametrize(
    ("new", "confirmed"),
    [
        (OLD, True),
        ((5.0, 4.0, 6.0), False),
        ((20.0, 19.0, 21.0), False),
        ((20.0, 10.9, 30.0), True),
        ((11.05, 11.01, 11.1), False),
        ((8.99, 8.98, 8.995), False),
        ((9.001, 8.9, 9.002), True),
    ],
)
def test_a_repetition_is_rejected_if_it_is_apart_and_far_in_either_direction(write, new, confirmed):
    rows, _ = compare(write("old", fast=OLD), write("new", fast=new))
    assert (find_refuted(rows, clock="cpu") == []) == confirmed
    assert find_refuted(rows, clock="wall") == []


def test_a_contender_that_a_repetition_lacks_is_rejected(write):
    rows, _ = compare(write("old", a=OLD, b=OLD), write("new", b=OLD))
    assert [row["contender"] for row in find_refuted(rows, clock="cpu")] == ["a"]


def test_a_case_that_was_refused_has_lost_what_it_had(write, tmp_path):
    old, new = write("old", fast=OLD), write("new", fast=OLD)
    content = json.loads(new.read_text())
    for table in ("ratios", "measurements", "agreement"):
        content[table] += [row | {"case": "training"} for row in content[table]]
    for row in content["agreement"]:
        row["id"] = row_id(row)
    for row, proof in zip(content["measurements"], content["agreement"]):
        row["agreement"] = [proof["id"]]
    both = tmp_path / "both.json"
    both.write_text(json.dumps(content))
    assert [(row["case"], row["lost"]) for row in compare(both, old)[0]] == [("loading", False)]
    refused = json.loads(old.read_text()) | {"refused": [{"case": "training", "reason": "its baseline is not there"}]}
    old.write_text(json.dumps(refused))
    rows, kept = compare(both, old)
    assert [(row["case"], row["lost"]) for row in rows] == [("loading", False), ("training", True)]
    assert not kept


def test_a_run_on_another_device_is_not_compared(write):
    old, new = write("old", fast=OLD), write("new", fast=OLD)
    content = json.loads(new.read_text())
    content["environment"]["device"] = "cuda"
    new.write_text(json.dumps(content))
    for pair in ((old, new), (new, old)):
        with pytest.raises(DataFormatError, match="another device"):
            compare(*pair)


def test_clocks_are_not_mixed(results, tmp_path, write):
    results.write(tmp_path / "both.json")
    rows, _ = compare(tmp_path / "both.json", tmp_path / "both.json")
    assert sorted((row["contender"], row["clock"]) for row in rows) == [
        ("fast", "cpu"),
        ("fast", "wall"),
        ("slow", "cpu"),
        ("slow", "wall"),
    ]


def test_files_without_a_common_ratio_are_not_called_equal(write):
    with pytest.raises(DataFormatError, match="has no ratio that"):
        compare(write("old", a=OLD), write("new", b=OLD))


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "compare", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_exits_with_0_1_and_2(write, tmp_path):
    old, same, lost = write("old", fast=OLD), write("same", fast=OLD), write("lost", fast=(5.0, 4.9, 5.1))
    kept = python(old, same)
    assert (kept.returncode, kept.stderr) == (0, "")
    assert kept.stdout == "loading: fast (cpu)  10.00 [9.00, 11.00] -> 10.00 [9.00, 11.00]  not distinguishable\n"
    fallen = python(old, lost)
    assert (fallen.returncode, fallen.stderr) == (1, "")
    assert fallen.stdout == "loading: fast (cpu)  10.00 [9.00, 11.00] -> 5.00 [4.90, 5.10]  LOST\n"
    refused = python(old, tmp_path / "none.json")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert len(refused.stderr.splitlines()) == 1
    assert str(tmp_path / "none.json") in refused.stderr


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        command.main()
    return exited.value.code


def test_the_command_takes_a_threshold(write, monkeypatch):
    files = write("old", fast=OLD), write("new", fast=(7.5, 7.4, 7.6))
    assert exit_code(monkeypatch, *files) == 1
    assert exit_code(monkeypatch, *files, "--threshold", "0.3") == 0


@pytest.mark.parametrize("arguments", ["--threshold nan", "--threshold -1", "--threshold much", "third.json"])
def test_a_wrong_argument_is_one_line(write, monkeypatch, capsys, arguments):
    files = write("old", fast=OLD), write("new", fast=OLD)
    assert exit_code(monkeypatch, *files, *arguments.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1


def test_what_was_printed_can_be_written_as_well(write, monkeypatch, tmp_path):
    old, new = write("old", fast=OLD), write("new", fast=(5.0, 4.9, 5.1))
    assert exit_code(monkeypatch, old, new, "--json", tmp_path / "rows.json") == 1
    assert json.loads((tmp_path / "rows.json").read_text()) == compare(old, new)[0]


def test_a_loss_by_the_clock_that_nobody_judges_by_is_no_loss(results, tmp_path):
    results.write(tmp_path / "old.json")
    for row in results.ratios:
        if row["clock"] == "wall" and row["contender"] == "fast":
            row |= {"median": 1.5, "low": 1.4, "high": 1.6}
    for row in results.measurements:
        if row["unit"].startswith("wall") and row["contender"] == "fast":
            samples = [0.02 / faster for faster in (1.4, 1.5, 1.6)]
            row |= {"samples": samples} | asdict(interval(samples))
    results.floors.clear()  # whose ratios to those samples are others now
    results.write(tmp_path / "new.json")
    rows, kept = compare(tmp_path / "old.json", tmp_path / "new.json")
    assert kept
    assert any(row["distinguishable"] and not row["lost"] for row in rows)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_is_verified_on_the_device_that_it_was_made_on(results, tmp_path, monkeypatch, device):
    results.environment["device"] = device
    results.write(tmp_path / "stored.json")
    (tmp_path / "again").mkdir()
    asked = []

    def run_again(options):
        asked.append(options.device)
        results.write(tmp_path / "again" / "results.json")
        return 0

    monkeypatch.setattr(command, "run_suite", run_again)
    arguments = ["verify", str(tmp_path / "stored.json"), "--output", str(tmp_path / "again")]
    assert command.run_verification(command.build_parser().parse_args(arguments)) == 0
    assert asked == [device]
