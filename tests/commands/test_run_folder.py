"""What `train --output` leaves behind, and the commands that look at it."""

import csv
import errno
import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from core_torch.__main__ import main
from core_torch.commands.run_folder import Run
from core_torch.data import residency
from core_torch.evaluation.run_page import CAPTIONS
from core_torch.files.splits import load_split

LARGEST_PAGE = 6e6  # bytes
TRAIN = ("train", "--device", "cpu")
SHORT = (*TRAIN, "--epochs", "2")


@pytest.fixture(scope="module")
def call():
    """Runs a command line in this process; (exit code, stdout, stderr)."""
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    def start(*arguments: object) -> SimpleNamespace:
        out, err = StringIO(), StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", ["core_torch", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
        return SimpleNamespace(code=ended.value.code, out=out.getvalue(), err=err.getvalue())

    return start


@pytest.fixture(scope="module")
def run(call, tmp_path_factory):
    """The folder of a short denoising run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    options = ("--model", "deep", "--objective", "denoising", "--corruption", "masking", "--seed", "3")
    done = call(*SHORT, *options, "--output", folder)
    assert done.code == 0, done.err
    return folder


def metrics_of(folder) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_every_result_is_there(run):
    numbers = {"metrics.json", "recipe.toml", "history.csv"}
    names = {path.name for path in run.iterdir()}
    assert names == {"weights.safetensors", "manifest.json", "index.html", "figures"} | numbers
    assert {path.name for path in (run / "figures").iterdir()} == set(CAPTIONS)


def test_an_interrupt_while_importing_is_one_line(call, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("core_torch.__main__.import_module", interrupt)
    interrupted = call(*SHORT)
    assert (interrupted.code, interrupted.err) == (130, "python -m core_torch: interrupted\n")


def test_the_history_has_a_line_an_epoch(run):
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for name, values in metrics_of(run)["history"].items():
        assert [float(row[name]) for row in rows] == values
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_the_page_needs_nothing_but_itself(run):
    page = (run / "index.html").read_text()
    assert len(page) < LARGEST_PAGE
    assert page.count("data:image/") == len(CAPTIONS)
    sources = re.findall(r"(?:src|href)='([^']{0,20})", page)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    for foreign in ("http:", "https:", "@import", "<script", "<link", "url("):
        assert foreign not in page
    for needed in ("name=viewport", "prefers-color-scheme: dark", f"{metrics_of(run)['test_mse']:.5f}", "masking"):
        assert needed in page


def test_the_page_names_are_text_and_not_markup(tmp_path, run):
    from core_torch.evaluation.run_page import write_run_page

    path = tmp_path / "page.html"
    write_run_page(
        path, metrics=metrics_of(run) | {"collapsed": True}, settings={}, pictures=[], command="--output '<b>&\udce9'"
    )
    assert "&lt;b&gt;&amp;?" in path.read_text()
    assert "learnt nothing" in path.read_text()


def test_the_written_recipe_repeats_the_run(call, run, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    repeated = ("train", "--recipe", run / "recipe.toml", "--device", "cpu", "--no-figures")
    assert call(*repeated, "--output", again).code == 0
    same = ("test_mse", "noisy_test_mse", "history", "model", "seed")
    assert {name: metrics_of(again)[name] for name in same} == {name: metrics_of(run)[name] for name in same}
    assert (again / "recipe.toml").read_bytes() == (run / "recipe.toml").read_bytes()
    assert not (again / "figures").exists()
    assert call(*repeated, "--seed", "4", "--output", other).code == 0
    assert metrics_of(other)["seed"] == 4
    assert metrics_of(other)["test_mse"] != metrics_of(run)["test_mse"]


@pytest.mark.parametrize("missing", ["matplotlib", "PIL", "jinja2"])
def test_without_a_drawing_library_all_but_the_figures_is_written(call, tmp_path, monkeypatch, missing):
    for name in [name for name in sys.modules if name.partition(".")[0] == missing or "core_torch.evaluation" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    done = call(*SHORT, "--output", tmp_path / "run")
    assert (done.code, done.err) == (0, f"no figures: {missing} is not installed\n")
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"weights.safetensors", "history.csv", "recipe.toml"}
    assert not (tmp_path / "run" / "index.html").exists()
    refused = call("figures", tmp_path / "run")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert f"{missing}: not installed, allowed: pip install autoencoder-reference[figures]" in refused.err


def test_a_model_without_epochs_has_a_page_too(call, tmp_path):
    done = call(*TRAIN, "--model", "randomized-shallow", "--output", tmp_path / "run")
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "history.csv").read_text() == "epoch\n"
    assert not (tmp_path / "run" / "figures" / "losses.png").exists()
    for written in ("index.html", "recipe.toml"):
        text = (tmp_path / "run" / written).read_text()
        assert "randomized-shallow" in text
        assert not re.search("batch_size|learning_rate|optimizer", text)
    again = call(*TRAIN, "--recipe", tmp_path / "run" / "recipe.toml", "--no-figures", "--output", tmp_path / "again")
    assert again.code == 0, again.err
    assert metrics_of(tmp_path / "again")["test_mse"] == metrics_of(tmp_path / "run")["test_mse"]


@pytest.fixture
def used(run, tmp_path):
    """A copy of the finished run, and a picture that is not the command's own."""
    shutil.copytree(run, tmp_path / "used")
    (tmp_path / "used" / "figures" / "mine.png").write_text("kept")
    return tmp_path / "used"


def test_nothing_of_an_earlier_model_stays_beside_the_new_one(call, used):
    assert call(*SHORT, "--no-figures", "--output", used).code == 0
    weights = {"weights.safetensors", "manifest.json"}
    assert {path.name for path in used.iterdir()} == weights | {"metrics.json", "recipe.toml", "history.csv", "figures"}
    assert [path.name for path in (used / "figures").iterdir()] == ["mine.png"]
    assert metrics_of(used)["model"] == "shallow"


def test_an_interrupt_while_drawing_leaves_no_mix(call, used, monkeypatch):
    from core_torch.evaluation import figure_files

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(figure_files.figures, "plot_filters", interrupt)
    assert call(*SHORT, "--output", used).code == 130
    assert not (used / "index.html").exists()
    assert [path.name for path in (used / "figures").iterdir()] == ["mine.png"]
    assert json.loads((used / "manifest.json").read_text())["model"] == metrics_of(used)["model"] == "shallow"


@pytest.mark.parametrize(("blocked", "made"), [
    *((name, Path.mkdir) for name in ("index.html", "history.csv", "metrics.json", "figures/losses.png")),
    ("figures", Path.touch),
])  # fmt: skip
def test_a_folder_that_cannot_take_the_results_is_refused_before_training(call, tmp_path, blocked, made):
    path = tmp_path / "pre" / blocked
    path.parent.mkdir(parents=True)
    made(path)
    before = sorted(tmp_path.rglob("*"))
    refused = call(*SHORT, "--output", tmp_path / "pre")
    assert (refused.code, refused.err.count("\n"), str(path) in refused.err) == (2, 1, True), refused.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("json_file", ["q", "q/../q", ".", "q/metrics.json", "q/figures/interpolation.png"])
def test_values_where_other_results_go_are_refused_before_training(call, tmp_path, monkeypatch, json_file):
    monkeypatch.chdir(tmp_path)
    refused = call(*SHORT, "--output", "q", "--json", json_file)
    assert (refused.code, refused.err.count("\n"), f"json: found {json_file}" in refused.err) == (2, 1, True)
    assert list(tmp_path.iterdir()) == []


def test_values_may_go_into_the_folder_that_is_made(call, tmp_path):
    done = call(*SHORT, "--no-figures", "--output", tmp_path / "a" / "b", "--json", tmp_path / "a" / "out.json")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "a" / "out.json").read_text())["epochs"] == 2
    refused = call(*SHORT, "--output", tmp_path / "a", "--json", tmp_path / "c" / "out.json")
    assert (refused.code, "json: " in refused.err) == (2, True)


def test_figures_are_drawn_where_they_are_asked_for(call, run, tmp_path):
    done = call("figures", run, "--output", tmp_path / "new" / "pictures", "--against", run, "--device", "cpu",
                "--json", tmp_path / "drawn.json")  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "drawn.json").read_text()) == done.out.splitlines()
    assert [line.rpartition("/")[2] for line in done.out.splitlines()] == list(CAPTIONS)
    assert {path.name for path in (tmp_path / "new" / "pictures").iterdir()} == set(CAPTIONS)


def test_a_picture_that_cannot_be_written_is_one_line_and_leaves_no_half(call, run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    refused = call("figures", run, "--output", tmp_path / "pictures", "--device", "cpu")
    assert (refused.code, refused.err.count("\n"), "No space left" in refused.err) == (2, 1, True), refused.err
    assert not (tmp_path / "pictures").exists()


def test_models_in_a_picture_are_named_by_what_tells_them_apart():
    from core_torch.commands.checkpoint import distinguish

    assert distinguish(["/x/y/a/run", "/x/y/b/run"]) == ["a/run", "b/run"]
    assert distinguish(["/x/run", "/x/run/inner"]) == ["run", "run/inner"]
    assert distinguish(["run", os.path.abspath("other")]) == ["run", "other"]
    assert distinguish(["/x/run"]) == ["run"]


DAMAGED = [
    *("{", "[]", '{"history": {"a": "b"}}', '{"history": {"loss": []}}', "[" * 100_000),
    *(f'{{"history": {{"train_loss": [1, {value}]}}}}' for value in ("NaN", "1e999", "1" + "0" * 400, "null", 0)),
    *(f'{{"history": {{"train_loss": [1, 0.5]}}, "test_mse_of_mean": {value}}}' for value in ("null", '"x"', "1e999")),
]


@pytest.mark.parametrize("content", [None, *DAMAGED])
def test_figures_need_no_metrics_beside_the_model(call, run, tmp_path, content):
    for name in ("weights.safetensors", "manifest.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    done = call("figures", tmp_path, "--device", "cpu")
    assert done.code == 0, done.err
    assert ("losses.png" in done.out) == (content is not None and ("0.5" in content or "[1, 0]" in content))


def test_codes_are_written_with_their_labels(call, run, tmp_path):
    listed = tmp_path / "listed.json"
    assert call("encode", run, "--output", tmp_path / "codes.npz", "--train", "--json", listed).code == 0
    with np.load(tmp_path / "codes.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    shapes = {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in arrays.items()}
    assert json.loads(listed.read_text()) == shapes
    assert arrays["codes"].shape == (360, 10)
    assert arrays["train_codes"].shape == (1437, 10)
    for prefix, part in (("", False), ("train_", True)):
        assert np.array_equal(arrays[f"{prefix}labels"], load_split(train=part).labels)
    assert call("encode", run, "--output", tmp_path / "codes.npy").code == 0
    assert np.array_equal(np.load(tmp_path / "codes.npy", allow_pickle=False), arrays["codes"])


def test_the_probe_reports_codes_beside_pixels_and_pca(call, run, tmp_path):
    assert call("evaluate", run, "--probe", "--json", tmp_path / "probe.json").code == 0
    written = json.loads((tmp_path / "probe.json").read_text())
    of = {name: value for name, value in written.items() if name.startswith("accuracy")}
    kinds, representations = ("linear", "neighbours"), ("code", "pixels", "pca")
    assert set(of) == {f"accuracy_{kind}_{name}" for kind in kinds for name in representations}
    assert of["accuracy_neighbours_pixels"] > 0.95 > of["accuracy_linear_code"] > 0.1


@pytest.mark.parametrize("how", [(), ("--ensemble",)], ids=["one by one", "together"])
def test_a_sweep_tries_every_combination(call, tmp_path, how):
    grid = ("--learning-rate", "1e-3", "1e25", "--seed", "0", "1")
    results = ("--output", tmp_path, "--json", tmp_path / "rows.json")
    done = call("sweep", "--device", "cpu", "--epochs", "1", *how, *grid, *results)
    assert done.code == 0, done.err
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert [(row["run"], row["learning_rate"], row["seed"]) for row in rows] == [
        *(("1", "0.001", "0"), ("2", "0.001", "1"), ("3", "1e+25", "0"), ("4", "1e+25", "1"))
    ]
    assert len({row["test_mse"] for row in rows[:2]}) == 2
    assert [row["test_mse"] for row in rows[2:]] == ["", ""]
    assert done.err.count("learning_rate") == 2
    assert len(done.out.splitlines()) == 5
    assert [row["test_mse"] for row in json.loads((tmp_path / "rows.json").read_text())][2:] == [None, None]
    single = tmp_path / "single"
    again = call("train", "--device", "cpu", "--epochs", "1", "--seed", "1", "--no-figures", "--output", single)
    assert again.code == 0
    assert metrics_of(single)["test_mse"] == pytest.approx(float(rows[1]["test_mse"]), rel=1e-4 if how else 0.0)


@pytest.mark.parametrize(("share", "kept"), [(1.0, "streamed"), (2.5, "uint8")])  # memory, in bytes of the split
@pytest.mark.parametrize("command", [("train",), ("sweep", "--ensemble", "--seed", "0", "1")], ids=["train", "sweep"])
def test_a_split_that_does_not_fit_trains_the_same_models(call, tmp_path, monkeypatch, command, share, kept):
    options = (*command, "--device", "cpu", "--epochs", "1", "--json")
    assert call(*options, tmp_path / "whole").code == 0
    free = int(share * load_split("digits").images.size)
    monkeypatch.setattr(residency, "free_bytes", lambda device: free)
    with pytest.warns(UserWarning, match=f"digits: does not fit on cpu as float32, it is {kept}"):
        assert call(*options, tmp_path / "short").code == 0
    whole, short = (re.findall(r'"test_mse": ([^,\n]+)', (tmp_path / name).read_text()) for name in ("whole", "short"))
    assert short == whole != []


def test_a_sweep_of_all_at_once_is_that_of_one_by_one(call, tmp_path):
    sweep = ("sweep", "--device", "cpu", "--epochs", "1", "--learning-rate", "1e-3", "3e-3", "--seed", "0", "1")
    for name, how in (("alone", ()), ("together", ("--ensemble",))):
        assert call(*sweep, *how, "--json", tmp_path / name).code == 0
    alone, together = (json.loads((tmp_path / name).read_text()) for name in ("alone", "together"))
    for one, other in zip(alone, together, strict=True):
        assert other["test_mse"] == pytest.approx(one["test_mse"], rel=1e-4)
        assert other["validation_mse"] == pytest.approx(one["validation_mse"], rel=1e-4)
        assert (one["learning_rate"], one["seed"]) == (other["learning_rate"], other["seed"])
    assert len({row["test_mse"] for row in together}) == 4
    assert len({row["seconds"] for row in together}) == 1


def test_a_sweep_reports_the_held_out_error_of_the_weights_that_were_kept(call, tmp_path, monkeypatch):
    def fit(*_) -> Run:
        return Run(None, {"test_mse": 0.5}, {"validation_mse": [0.3, 0.1, 0.2]})

    monkeypatch.setattr("core_torch.commands.sweep.fit", fit)
    for patience, expected in ((0, 0.2), (5, 0.1)):
        (tmp_path / "a.toml").write_text(f"patience = {patience}")
        assert call("sweep", "--recipe", tmp_path / "a.toml", "--json", tmp_path / "rows.json").code == 0
        (row,) = json.loads((tmp_path / "rows.json").read_text())
        assert row["validation_mse"] == expected


def test_a_combination_without_a_solution_is_a_row_without_results(call, tmp_path):
    randomized = ("sweep", "--device", "cpu", "--model", "randomized-shallow")
    noise = ("--objective", "denoising", "--corruption", "masking", "--corruption-level", "1", "0.1")
    done = call(*randomized, *noise, "--json", tmp_path / "rows.json")
    assert (done.code, "leaves the normal equations singular" in done.err) == (0, True), done.err
    none, some = (row["test_mse"] for row in json.loads((tmp_path / "rows.json").read_text()))
    assert none is None
    assert some < 0.1


def test_curves_are_written_as_event_files_epoch_by_epoch(call, tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    done = call(*SHORT, "--no-figures", "--tensorboard", tmp_path / "events")
    assert done.code == 0, done.err
    (events,) = (tmp_path / "events").iterdir()
    for name in (b"train_loss", b"validation_mse"):
        assert events.read_bytes().count(name) == 2
    refused = call(*TRAIN, "--model", "randomized-deep", "--tensorboard", tmp_path / "none")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "tensorboard: found with randomized-deep" in refused.err
    refused = call("train", "--device", "cuda:99", "--tensorboard", tmp_path / "none")
    assert (refused.code, "device: found cuda:99" in refused.err) == (2, True)
    monkeypatch.setattr("core_torch.spec.extras.find_spec", lambda name: None)
    refused = call(*SHORT, "--tensorboard", tmp_path / "none")
    assert refused.code == 2 and refused.err.endswith("pip install autoencoder-reference[tensorboard]\n")
    assert not (tmp_path / "none").exists()
