"""A results file is read back as it was written, or refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from benchmarks.report.compare import compare
from benchmarks.report.reading import SCHEMA_FILE, read_results
from benchmarks.report.results_file import SCHEMA, Results, row_id
from benchmarks.report.schema import find_difference
from benchmarks.report.tables import markdown
from benchmarks.suites import SUITES
from benchmarks.timing.quality import ORIGINALS
from core_torch.parity.judge import Check
from core_torch.spec.errors import CheckpointError, DataFormatError


@pytest.fixture
def path(results: Results, tmp_path: Path) -> Path:
    """A whole results file."""
    path = tmp_path / "results.json"
    results.write(path)
    return path


TABLES = ("agreement", "measurements", "ratios", "floors", "profiles", "refused")


def refusal(path: Path) -> str:
    """The one line that refuses a file; it starts with its path."""
    with pytest.raises(DataFormatError) as caught:
        read_results(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message


def test_what_is_written_is_read(results, path):
    content = read_results(path)
    assert content["schema"] == SCHEMA
    assert (content["command"], content["dataset"]) == (results.command, results.dataset)
    assert content["environment"] == results.environment
    for table in TABLES:
        assert content[table] == getattr(results, table)


def test_raw_samples_and_their_median_are_in_seconds_an_image(path):
    row = next(row for row in read_results(path)["measurements"] if row["unit"].startswith("wall"))
    assert row["unit"] == "wall seconds per image"
    assert row["samples"] == [0.02] * 3
    assert (row["median"], row["n"]) == (0.02, 3)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_json_has_no_number_for_is_written_as_a_string(results, path, value):
    results.add_checks([Check("case", "framework", "outputs", value, 0.0, False)])
    results.write(path)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads(path.read_text(), parse_constant=refuse)
    assert content["agreement"][-1]["value"] == str(value)
    assert read_results(path)["agreement"][-1]["value"] == str(value)


def test_a_run_that_has_only_begun_can_be_read(tmp_path):
    path = tmp_path / "results.json"
    Results([], {"cpu": "a cpu", "versions": {}}, "digits").write(path)
    assert all(read_results(path)[table] == [] for table in TABLES)


def test_a_second_write_replaces_the_first_and_leaves_nothing_beside(results, path):
    results.refuse("another", "reason")
    results.write(path)
    assert len(read_results(path)["refused"]) == 2
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_gone_is_one_line(results, tmp_path):
    with pytest.raises(CheckpointError, match="cannot be written"):
        results.write(tmp_path / "gone" / "results.json")


def test_a_run_passes_only_if_all_agree_and_nothing_was_refused(results):
    assert not results.passed
    results.refused.clear()
    assert not results.passed
    results.agreement = [row for row in results.agreement if row["passed"]]
    assert results.passed
    results.refuse("a case", "a reason")
    assert not results.passed


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.pop(name)


def with_value(value: object, *place: str | int) -> Callable[[dict[str, Any]], None]:
    """A change that puts `value` in a place of the file."""

    def change(content: Any) -> None:
        *above, last = place
        for step in above:
            content = content[step]
        content[last] = value

    return change


def failing(content: dict[str, Any], number: int) -> None:
    """An honest row of a check that failed, and a time that refers to it."""
    row = content["agreement"][number]
    row["passed"] = False
    row["id"] = content["measurements"][0]["agreement"][0] = row_id(row)


CHANGES = {
    "no schema": without("schema"),
    "another schema": with_value(SCHEMA + 1, "schema"),
    "the schema as text": with_value(str(SCHEMA), "schema"),
    **{f"no {table}": without(table) for table in TABLES},
    "no date": without("created"),
    "no environment": without("environment"),
    "no dataset": without("dataset"),
    "a command that is one string": with_value("python -m benchmarks", "command"),
    "an environment that is a list": with_value([], "environment"),
    "no versions": with_value({"cpu": "a cpu"}, "environment"),
    "a table that is a table of tables": with_value({}, "ratios"),
    "a table that is null": with_value(None, "agreement"),
    "a row that is a number": with_value([1], "floors"),
    "a floor without times": with_value(None, "floors", 0, "times"),
    "a floor of no time": with_value(0.0, "floors", 0, "median"),
    "a median outside its interval": with_value(0.5, "ratios", 1, "high"),
    "a time outside its interval": with_value(0.001, "measurements", 0, "high"),
    "a time that its samples do not give": with_value(0.0101, "measurements", 0, "median"),
    "a floor that its samples do not give": with_value(0.5, "floors", 0, "median"),
    "a floor without samples": lambda content: content["floors"][0].update(samples=[], times=[]),
    "so many times a floor that it is not": with_value(1.5, "floors", 0, "times", 0, "median"),
    "so many times a floor by nobody": with_value("nobody", "floors", 0, "times", 0, "contender"),
    "a check with a word for its value": with_value("small", "agreement", 0, "value"),
    "a check with a value beyond any float": with_value(10**400, "agreement", 0, "value"),
    "a check without a tolerance": lambda content: content["agreement"][0].pop("tolerance"),
    "a measurement of nothing": with_value([], "measurements", 0, "samples"),
    "a count that is not that of its samples": with_value(7, "measurements", 0, "n"),
    "a ratio that its samples do not give": with_value(3.9, "ratios", 1, "median"),
    "a ratio of as many samples as its baseline has not": lambda content: content["measurements"][0].update(
        samples=[0.01] * 4, n=4
    ),
    "a ratio twice": lambda content: content["ratios"].append(content["ratios"][0]),
    "a profile that is of no time": with_value({"total": 0}, "profiles", 0, "microseconds_per_image"),
    "a negative amount of memory": with_value(-1, "profiles", 0, "peak_host_bytes"),
    "settings that are a string": with_value("TF32", "profiles", 0, "settings"),
    "a row that is null": with_value(None, "ratios", 0),
    "an empty row": with_value({}, "ratios", 0),
    "a ratio of no case": with_value(None, "ratios", 0, "case"),
    "a ratio of a numbered contender": with_value(1, "ratios", 0, "contender"),
    "a ratio by a list of clocks": with_value(["cpu"], "ratios", 0, "clock"),
    "a ratio as text": with_value("4.0", "ratios", 0, "median"),
    "a ratio that is true": with_value(True, "ratios", 0, "median"),
    "a ratio of zero": with_value(0, "ratios", 0, "low"),
    "a negative ratio": with_value(-1.5, "ratios", 0, "high"),
    "a ratio that is not a number": with_value(float("nan"), "ratios", 0, "median"),
    "an infinite ratio": with_value(float("inf"), "ratios", 0, "median"),
    "a ratio beyond any float": with_value(10**400, "ratios", 0, "median"),
    "a ratio without a measurement": with_value([], "measurements"),
    "a time without a proof": with_value([], "measurements", 0, "agreement"),
    "a time with no word of a proof": lambda content: content["measurements"][0].pop("agreement"),
    "a time without a digest": lambda content: content["measurements"][0].pop("digest"),
    "a time with a proof that is not there": with_value(["0" * 16], "measurements", 0, "agreement"),
    "a proof that is not there beside one that is": lambda content: content["measurements"][0]["agreement"].append("0"),
    "a time with the proof of another": lambda content: content["measurements"][0].update(
        agreement=content["measurements"][-1]["agreement"]
    ),
    "a time with a proof that failed": lambda content: failing(content, 2),
    "a proof that was edited": with_value(0.5, "agreement", 2, "value"),
    "a measurement without samples": with_value(None, "measurements", 0, "samples"),
    "a check that is neither passed nor not": with_value("yes", "agreement", 0, "passed"),
    "a name that is half a character": with_value("\ud800", "dataset"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_file_changed_in_one_place_is_refused(path, change):
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))
    refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\xff\xfe\x00",
        b"results",
        b"null",
        b"1",
        b"[]",
        b"{}",
        b'"schema"',
        b"{'schema': 2}",
        b'{"schema": 1} {"schema": 1}',
        b"[" * 1_000_000,
        b'{"schema":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"schema": ' + b"1" * 5000 + b"}",
    ],
    ids=lambda content: repr(content[:20]),
)
def test_what_is_no_results_file_is_refused(path, content):
    path.write_bytes(content)
    refusal(path)


def test_no_part_of_a_file_is_taken_for_the_whole(path):
    whole = path.read_bytes().rstrip()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        refusal(path)


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.json")
    assert "directory" in refusal(tmp_path)


def test_a_run_of_schema_1_had_no_proofs_and_is_still_read(path):
    content = json.loads(path.read_bytes())
    for row in content["measurements"]:
        row.pop("agreement")
        row.pop("digest")
    path.write_text(json.dumps(content | {"schema": 1}))
    assert markdown(read_results(path))
    path.write_text(json.dumps(content))
    refusal(path)


def test_a_run_that_used_older_names_is_read_by_todays(path):
    content = json.loads(path.read_bytes())
    content["refused"] = [{"case": "growth, resident, batch 500, mnist, core_torch/64-at-once", "reason": "none"}]
    path.write_text(json.dumps(content | {"command": ["python", "-m", "benchmarks", "--suite", "growth"]}))
    found = read_results(path)
    assert found["refused"][0]["case"] == "scaling, resident, batch 500, mnist, core_torch/ensemble-64"
    assert found["command"][-1] in SUITES


def test_the_schema_is_one(path):
    schema = json.loads(SCHEMA_FILE.read_bytes())
    Draft202012Validator.check_schema(schema)
    assert find_difference(read_results(path), schema) is None
    assert (
        find_difference(read_results(path), schema | {"required": ["more"]})
        == "the file: 'more' is a required property"
    )


def test_a_tolerance_without_a_bound_can_be_told(path):
    content = json.loads(path.read_bytes())
    original = ORIGINALS[0]
    row = {"case": f"{original}, mnist", "framework": original.contender, "check": original.check, "passed": True}
    row |= {"value": "inf", "tolerance": "inf"}
    content["agreement"].append(row | {"id": row_id(row)})
    path.write_text(json.dumps(content))
    assert "epochs <= inf" in markdown(read_results(path))


def test_the_line_names_the_place(path):
    content = json.loads(path.read_bytes())
    content["ratios"][1]["low"] = 0
    path.write_text(json.dumps(content))
    assert refusal(path) == f"{path}: ratios[1].low: 0 is less than or equal to the minimum of 0"


FUZZ = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the file is written once, and kept
)
PIECES = [b"", b"0", b"9" * 20, b"e", b"-", b'"', b"{", b"}", b",", b"null", b"\\ud800", b"\xff"]


@FUZZ
@given(data=st.data())
def test_damaged_bytes_are_refused_or_still_comparable(path, data):
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place : place + data.draw(st.integers(0, 4))] = data.draw(st.sampled_from(PIECES))
    damaged = path.with_name("damaged.json")
    damaged.write_bytes(whole)
    for pair in ((path, damaged), (damaged, path)):
        try:
            rows, _ = compare(*pair)
        except DataFormatError as error:
            assert len(str(error).splitlines()) == 1
            assert str(damaged) in str(error)
        else:
            json.dumps(rows, ensure_ascii=False, allow_nan=False).encode()
            markdown(read_results(damaged)).encode()
