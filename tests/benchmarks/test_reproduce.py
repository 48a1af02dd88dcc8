"""Tables that are run again: what is planned, what is kept, what is told, what is refused."""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.papers import TABLES
from benchmarks.papers.page import describe_ordering, markdown
from benchmarks.papers.runs import NAME, Run, plan_runs, read_runs, run_one, stored_runs, write_runs
from benchmarks.papers.table import COUNT, Goal, Ordering, Row, Table, table_named
from benchmarks.timing.environment import describe_environment
from core_torch.files.locks import hold
from core_torch.spec.errors import CheckpointError, ConfigError, DataFormatError, DivergenceError
from core_torch.spec.recipe import Recipe

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted((ROOT / "benchmarks" / "published").glob(f"*/{NAME}"))
ENVIRONMENT = {"cpu": "a processor", "gpu": None, "device": "cpu", "versions": {"torch": "2"}}
SETTINGS_OF = """
from benchmarks.papers.table import table_named
print(*(row.settings for row in table_named("contractive").rows))
"""
MADE_UP = Table(
    title="Made up",
    source="nowhere",
    protocol="None.",
    metrics={"error": ".2f", "accuracy": ".3f", "missed %": ".1f", "dead": COUNT},
    rows=(
        Row(name="deep", run=lambda data, seed: {"error": 1.0}, published={"error": 2.0}, goals={"error": Goal(1.5)}),
        Row(name="wide", run=lambda data, seed: {}, goals={"accuracy": Goal(0.9, at_least=True)}, quick=False, seeds=2),
        Row(name="huge", run=lambda data, seed: {}, quick=False, gpu=True),
    ),
    orderings=(Ordering("error", ("wide", "deep")),),
)


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    monkeypatch.setitem(TABLES, "made-up", "made_up")
    monkeypatch.setitem(sys.modules, "benchmarks.papers.made_up", SimpleNamespace(TABLE=MADE_UP))


def run(row: str, seed: int = 0, **metrics: float) -> Run:
    return Run("made-up", row, seed, "abc123", MADE_UP.row(row).settings, 60.0, metrics)


def test_a_quick_run_has_the_cheap_rows_once_and_a_full_one_every_seed_of_every_row():
    assert plan_runs(["made-up"], full=False, device="cpu") == [("made-up", "deep", 0)]
    full = [(row, seed) for _, row, seed in plan_runs(["made-up"], full=True, device="cpu")]
    assert full == [("deep", 0), ("wide", 0), ("deep", 1), ("wide", 1), ("deep", 2)]
    assert ("made-up", "huge", 2) in plan_runs(["made-up"], full=True, device="cuda")


def test_the_mean_over_seeds_stands_beside_the_claim_and_the_goal():
    runs = [run("deep", 0, error=1.0), run("deep", 1, error=1.2), run("wide", 0, accuracy=0.85, error=2.5)]
    text = markdown(runs, ENVIRONMENT)
    assert "| deep | 1.10 ± 0.14 [2.00, -45%], goal 1.50: met |  | 2 | 1.0 |" in text
    assert "| wide | 2.50 | 0.850, goal 0.900: missed by 5.6 % | 1 | 1.0 |" in text
    assert "error: wide > deep holds in 1 of 1 seed." in text
    assert "Not run: huge." in text


def test_a_changed_setting_is_another_row():
    def settings(**given: object) -> str:
        return Row(name="deep", run=partial(len, **given)).settings

    assert settings(recipe=Recipe(epochs=2), way=len) == settings(way=len, recipe=Recipe(epochs=2))
    assert settings(recipe=Recipe(epochs=3)) not in {settings(recipe=Recipe(epochs=2)), settings(), settings(way=len)}
    for name in TABLES.keys() - {"made-up"}:
        every = [row.settings for row in table_named(name).rows]
        assert len({*every}) == len(every)
    stated = [row.settings for row in table_named("contractive").rows]
    told = subprocess.run([sys.executable, "-c", SETTINGS_OF], capture_output=True, text=True, cwd=ROOT)
    assert told.stdout.split() == stated  # no address of a function of this process is in them


def test_a_broken_ordering_and_a_missed_goal_are_told():
    backwards = [run("deep", error=2.0), run("wide", error=1.0)]
    assert describe_ordering(MADE_UP.orderings[0], backwards) == "error: wide > deep holds in 0 of 1 seed."
    assert describe_ordering(MADE_UP.orderings[0], backwards[:1]) is None
    three = Ordering("error %", ("wide", "huge", "deep"), why="so it is")
    values = [run("wide", **{"error %": 3.0}), run("huge", **{"error %": 1.0}), run("deep", **{"error %": 2.0})]
    assert describe_ordering(three, values) == (
        "error %: wide > huge > deep holds in 0 of 1 seed, but not huge > deep in 1: so it is."
    )
    falling = {"wide": 3.0, "huge": 2.0, "deep": 1.0}
    holds = [run(name, **{"error %": value}) for name, value in falling.items()]
    assert describe_ordering(three, holds) == "error %: wide > huge > deep holds in 1 of 1 seed."
    every_pair = [run("wide", **{"error %": 1.0}), run("huge", **{"error %": 2.0}), run("deep", **{"error %": 3.0})]
    assert "not wide > huge in 1, wide > deep in 1, huge > deep in 1" in str(describe_ordering(three, every_pair))
    two, again = Ordering("error %", ("wide", "deep")), [replace(each, seed=1) for each in every_pair]
    assert describe_ordering(two, values + again) == "error %: wide > deep holds in 1 of 2 seeds, by +1.00, -2.00."
    equal = [run("deep", error=1.0), run("wide", error=1.0)]
    assert "0 of 1" in str(describe_ordering(MADE_UP.orderings[0], equal))
    assert Goal(1.0, within=0.1).met(1.09) and not any(map(Goal(1.0, within=0.1).met, (0.8, 1.2)))
    assert not Goal(1.0).met(1.01) and not Goal(1.0, at_least=True).met(0.99) and not Goal(1.0).met(math.nan)


def test_runs_come_back_as_they_were_written(tmp_path):
    runs = [run("wide", 1, accuracy=0.1 + 0.2), run("deep", 0, error=1e-300)]
    write_runs(tmp_path, runs, environment=ENVIRONMENT)
    assert read_runs(tmp_path) == (runs[::-1], ENVIRONMENT)  # in the order of the table
    assert stored_runs(tmp_path, environment=ENVIRONMENT).keys() == {each.key for each in runs}


def test_a_run_of_other_settings_is_run_again_and_in_no_table(tmp_path, capsys):
    runs = [run("deep", error=1.0), run("wide", accuracy=0.5)]
    write_runs(tmp_path, [replace(runs[0], settings="0123456789ab"), runs[1]], environment=ENVIRONMENT)
    assert stored_runs(tmp_path, environment=ENVIRONMENT) == {runs[1].key: runs[1]}
    assert "made-up, deep, seed 0: was run with other settings" in capsys.readouterr().err
    with pytest.raises(DataFormatError, match="made-up, deep, seed 0 was run with other settings: reproduce it again"):
        read_runs(tmp_path)


def test_two_writers_do_not_have_one_folder(tmp_path):
    def hold_it() -> None:
        with hold(tmp_path):
            pass

    with ThreadPoolExecutor(1) as other:
        with hold(tmp_path), pytest.raises(CheckpointError, match="is being written to by process"):
            other.submit(hold_it).result()
        other.submit(hold_it).result()


@pytest.mark.parametrize("name", ["cpu", "versions"])
def test_runs_of_another_machine_or_other_versions_are_not_added_to(tmp_path, name):
    write_runs(tmp_path, [run("deep", error=1.0)], environment=ENVIRONMENT)
    with pytest.raises(ConfigError, match=f"another {name}"):
        stored_runs(tmp_path, environment=ENVIRONMENT | {name: {"torch": "3"}})


def test_a_figure_that_is_not_finite_is_not_kept(monkeypatch):
    diverged = replace(MADE_UP, rows=(Row(name="deep", run=lambda data, seed: {"error": math.nan}),))
    monkeypatch.setitem(sys.modules, "benchmarks.papers.made_up", SimpleNamespace(TABLE=diverged))
    monkeypatch.setattr("benchmarks.papers.runs._data", lambda root, device: None)
    with pytest.raises(DivergenceError, match="deep, seed 3"):
        run_one("made-up", "deep", 3, root=None, device="cpu", code=None)


def damage(content: dict, how: str) -> object:
    first = content["runs"][0]
    match how:
        case "no runs":
            del content["runs"]
        case "twice":
            content["runs"].append(first)
        case "unknown row":
            first["row"] = "narrow"
        case "unknown table":
            first["table"] = "made-down"
        case "no number":
            first["metrics"]["error"] = "small"
        case "a truth":
            first["metrics"]["error"] = True
        case "no number that JSON has":
            first["metrics"]["error"] = math.nan
        case "no number that a float has":
            first["metrics"]["error"] = 10**400
        case "versions":
            content["environment"]["versions"] = []
        case "half a character":
            content["environment"]["cpu"] = "\ud800"
        case "negative":
            first["seconds"] = -1
        case "an endless seed":
            first["seed"] = math.inf
        case "other settings":
            first["settings"] = "0123456789ab"
        case "a seed that was not planned":
            first["seed"] = 77
        case "a row for a GPU":
            first |= {"row": "huge", "settings": MADE_UP.row("huge").settings, "metrics": {"error": 1.0}}
        case "no metric of the goal":
            first["metrics"] = {"accuracy": 0.5}
        case "other metrics with another seed":
            content["runs"].append(first | {"seed": 1, "metrics": {"error": 1.0, "accuracy": 0.5}})
        case "more than all":
            first["metrics"]["missed %"] = 101
        case "neither dead nor alive":
            first["metrics"]["dead"] = 0.5
        case "a heading for a processor":
            content["environment"]["cpu"] = "a cpu\n\n# heading"
        case "a heading for a version":
            content["environment"]["versions"] = {"torch": "2\n\n# heading"}
        case "a heading for a commit":
            first["commit"] = "e6ec8e8\n\n# heading"
        case "no commit":
            del first["commit"]
        case "no metric":
            first["metrics"] = {}
        case "another table's metric":
            first["metrics"]["loss"] = 1.0
        case "a metric below 0":
            first["metrics"]["error"] = -1.0
        case "no run at all":
            content["runs"] = []
        case "more":
            first["note"] = "faster"
        case "version":
            content["version"] = 1
        case "a list":
            return [content]
    return content


@pytest.mark.parametrize(
    "how",
    "no runs,twice,unknown row,unknown table,no number,no number that JSON has,no number that a float has,a truth,"
    "versions,half a character,negative,an endless seed,other settings,no commit,no metric,another table's metric,"
    "a seed that was not planned,a row for a GPU,no metric of the goal,other metrics with another seed,more than all,"
    "neither dead nor alive,a heading for a processor,a heading for a version,a heading for a commit,"
    "a metric below 0,no run at all,more,version,a list".split(","),
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, how):
    write_runs(tmp_path, [run("deep", error=1.0)], environment=ENVIRONMENT)
    read_runs(tmp_path)
    content = json.loads((tmp_path / NAME).read_text())
    (tmp_path / NAME).write_text(json.dumps(damage(content, how)))
    with pytest.raises(DataFormatError, match=NAME):
        read_runs(tmp_path)


@pytest.mark.parametrize("name", [name for name in TABLES if name != "made-up"])
def test_a_table_says_what_it_needs(name):
    table = table_named(name)
    rows = [row.name for row in table.rows]
    assert len(rows) == len({*rows})
    assert any(row.quick for row in table.rows)
    assert all(ordered in rows for ordering in table.orderings for ordered in ordering.rows)
    for row in table.rows:
        assert {*row.published, *row.goals} <= {*table.metrics}
        assert all(math.isfinite(value) for value in row.published.values())
    assert table.source and table.protocol


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""} | variables
    call = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(call, capture_output=True, text=True, env=environment, timeout=250)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["reproduce", "deeep"], "did you mean deep?"),
        (["reproduce", "deep", "--jobs", "0"], "jobs: found 0"),
        (["reproduce", "deep", "--output", ""], "output"),
        (["tables", "nowhere"], "folder: found 'nowhere'"),
        (["tables", ""], "folder: found ''"),
        (["tables", "a" * 300], "folder: found 'aaa"),
        (["tables", "."], NAME),
        (["tables"], "the following arguments are required"),
    ],
)
def test_a_mistake_is_answered_with_a_line(arguments, said, tmp_path):
    done = command(*arguments, MNIST_ROOT=str(tmp_path / "absent"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and said in done.stderr


@pytest.mark.mnist
@pytest.mark.usefixtures("mnist_root")
def test_a_row_is_run_kept_and_not_run_again(tmp_path):
    ours = describe_environment(seed=0, device="cpu")
    others = {"deep autoencoder, 2,000 updates": 4.9, "logistic PCA-30": 8.0}
    rows = {name: table_named("deep").row(name).settings for name in others}
    runs = [Run("deep", name, 0, "abc", settings, 1.0, {"test SSE": others[name]}) for name, settings in rows.items()]
    write_runs(tmp_path, runs, environment=ours)
    done = command("reproduce", "deep", "--jobs", "1", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("seed 0") == 1 and "PCA-30" in done.stderr
    assert re.search(r"\| PCA-30 \| 13\.87 \[13\.87, \+0%\], goal 13\.87 ± 0\.02: met", done.stdout)
    again = command("tables", str(tmp_path))
    assert "goal 13.87 ± 0.02: met" in again.stdout and "8.00" in again.stdout


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_what_is_published_is_whole(path):
    runs, environment = read_runs(path.parent)
    assert {"cpu", "cores", "versions", "commit"} <= environment.keys()
    text = markdown(runs, environment)
    assert (path.parent / "README.md").read_text() == text
    assert all(table_named(name).title in text for name in {each.table for each in runs})
    assert all(re.fullmatch("[0-9a-f]{7,40}", str(run.commit)) for run in runs)
    stored = {(run.table, run.row) for run in runs}
    assert {(name, row) for name, rows in CHEAP.items() for row in rows} <= stored
    rows = [table_named(name).row(row) for name, row in stored]
    assert [row.name for row in rows if row.published and not row.why] == []


# {table: (a row that takes seconds, another one that it is not)}
CHEAP = {
    "categories": ("randomized-shallow, standard", "randomized-shallow, contractive"),
    "deep": ("PCA-30", "logistic PCA-30"),
    "momentum": ("momentum 0.9, 1,000 updates", "momentum 0.99, 1,000 updates"),
    "contractive": ("CAE, 200 units", "DAE-b, 200 units"),
    "denoising": ("masking 0.25, 200 units", "masking 0.4, 200 units"),
    "extreme-learning": ("2,000 features of patches", "2,000 features"),
    "convolutional": ("1,000 labels, 20-30-40 filters, random", "k-means on codes, 1 epoch"),
    "ports": ("shallow, 2 epochs: Lightning", "deep, 2 epochs: Lightning"),
}


@pytest.mark.slow
@pytest.mark.mnist
@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
@pytest.mark.usefixtures("mnist_root")
def test_a_stored_row_comes_out_again(path, name):
    stored = {run.key: run.metrics for run in read_runs(path.parent)[0]}
    row, other = CHEAP[name]
    found = run_one(name, row, 0, root=None, device="cpu", code=None).metrics
    assert is_near(found, stored[name, row, 0])
    assert not is_near(found, stored[name, other, 0])


def is_near(found: Mapping[str, float], stored: Mapping[str, float]) -> bool:
    """Up to what another processor's rounding makes of a training, or of a count of a few hundred misread images."""
    if found.keys() != stored.keys():
        return False
    return all(
        _missed(name, found[name]) == pytest.approx(_missed(name, value), rel=0.1)
        for name, value in stored.items()
        if name != "seconds"
    )


def _missed(name: str, value: float) -> float:
    return 100 - value if name == "accuracy %" else value
