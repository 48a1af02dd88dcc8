"""The commands answer a mistake with one line and the right exit code, and import no framework to do so."""

import os
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

import core_torch.spec
from core_torch.commands.command_line import Parser, run
from core_torch.commands.train_options import add_train_options, recipe_file, resolve_options
from core_torch.files.outputs import check_file, prepare_output
from core_torch.spec.errors import CheckpointError, ConfigError, DataFormatError
from core_torch.spec.fields import check_fields, integer
from core_torch.spec.presets import preset
from core_torch.spec.recipe import OBJECTIVES, Recipe

ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("torch", "torchvision", "lightning", "tensorflow", "jax", "keras", "sklearn", "matplotlib")


def python(*arguments: str, path: tuple[Path, ...] = (ROOT,)) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def parser() -> Parser:
    """A program with one subcommand, as the real ones are built."""
    parser = Parser(prog="program")
    train = parser.add_subparsers(dest="command", required=True).add_parser("train")
    add_train_options(train, models=("shallow",))
    return parser


def complaint(capsys, parser: Parser, *arguments: str) -> str:
    """The only line printed, with exit code 2."""
    with pytest.raises(SystemExit) as exited:
        parser.parse_args(arguments)
    printed = capsys.readouterr()
    assert exited.value.code == 2
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("program")
    return printed.err


def test_good_arguments_reach_the_recipe(parser):
    parsed = parser.parse_args(["train", "--epochs", "3", "--learning-rate", "1e-2", "--seed", "5"])
    _, recipe = resolve_options(parsed, models=("shallow",))
    assert (parsed.model, parsed.dataset, parsed.data_root) == ("shallow", "digits", None)
    assert recipe == Recipe(epochs=3, learning_rate=0.01, seed=5)


def test_a_recipe_file_stands_below_the_options_and_above_the_preset(parser, tmp_path):
    (tmp_path / "a.toml").write_text('preset = "best"\nepochs = 7\nbatch_size = 9\nmomentum = 0\ndataset = "mnist"\n')
    parsed = parser.parse_args(["train", "--recipe", str(tmp_path / "a.toml"), "--epochs", "3"])
    _, recipe = resolve_options(parsed, models=("shallow",))
    _, of_preset = preset("best", "shallow", "standard")
    assert recipe == of_preset.with_changes(epochs=3, batch_size=9)
    assert (parsed.dataset, parsed.preset, parsed.epochs) == ("mnist", "best", 3)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_written_recipe_reads_back_as_itself(parser, tmp_path, objective):
    arguments = ["train", "--objective", objective, "--code-activation", "tanh", "--learning-rate", "3e-05"]
    parsed = parser.parse_args(arguments)
    architecture, recipe = resolve_options(parsed, models=("shallow",))
    (tmp_path / "a.toml").write_text(recipe_file(parsed, recipe))
    again = parser.parse_args(["train", "--recipe", str(tmp_path / "a.toml")])
    assert resolve_options(again, models=("shallow",)) == (architecture, recipe)
    assert recipe_file(again, recipe) == recipe_file(parsed, recipe)
    assert ("contraction" in recipe_file(parsed, recipe)) == (objective == "contractive")


def test_a_name_of_another_commands_option_is_refused(parser, tmp_path):
    (tmp_path / "a.toml").write_text('solver = "ridge"')
    parsed = parser.parse_args(["train", "--recipe", str(tmp_path / "a.toml")])
    with pytest.raises(ConfigError, match="a.toml: found 'solver'"):
        resolve_options(parsed, models=("shallow",))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--epohcs", "--epochs"),
        ("--epoch", "--epochs"),
        ("--batchsize", "--batch-size"),
        ("--batch_size", "--batch-size"),
        ("--learning-rat=0.1", "--learning-rate"),
        ("--data-rot", "--data-root"),
    ],
)
def test_a_misspelt_option_of_a_subcommand_gets_a_suggestion(capsys, parser, typed, meant):
    line = complaint(capsys, parser, "train", typed, "3")
    assert line.startswith("program train: error: unrecognized arguments: ")
    assert line.endswith(f"(did you mean {meant}?)\n")


def test_a_misspelt_command_gets_a_suggestion(capsys, parser):
    line = complaint(capsys, parser, "trian")
    assert line == "program: error: command: found 'trian' (did you mean train?), allowed: train\n"


def test_an_option_like_no_other_gets_no_suggestion(capsys, parser):
    assert "did you mean" not in complaint(capsys, parser, "train", "--xyz")
    assert "did you mean" not in complaint(capsys, parser, "train", "epochs")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("trian",),
        ("train", "--epochs"),
        ("train", "--epochs", "three"),
        ("train", "--epochs", "1.5"),
        ("train", "--learning-rate", "fast"),
        ("train", "--seed", "1\n2"),
        ("train", "--two\nlines"),
        ("train", "two", "words\nand lines"),
    ],
)
def test_every_mistake_takes_one_line(capsys, parser, arguments):
    complaint(capsys, parser, *arguments)


def exit_code(command) -> int | str | None:
    with pytest.raises(SystemExit) as exited:
        run(command, program="program")
    return exited.value.code


def raising(error: BaseException):
    def command():
        raise error

    return command


def test_a_command_exits_with_what_it_returns(capsys):
    assert exit_code(lambda: None) == 0
    assert exit_code(lambda: 0) == 0
    assert exit_code(lambda: 1) == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [ConfigError, DataFormatError, CheckpointError])
def test_a_users_error_is_one_line_and_exit_code_2(capsys, kind):
    assert exit_code(raising(kind("thing: found\n  this, allowed: that"))) == 2
    assert capsys.readouterr().err == "program: error: thing: found this, allowed: that\n"


def test_an_interrupt_exits_with_130(capsys):
    assert exit_code(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "program: interrupted\n"


def test_a_programmers_error_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()), program="program")


NOT_UTF8 = """
import os
from core_torch.commands.command_line import run
from core_torch.files.splits import load_split
run(lambda: load_split("mnist", root=os.fsdecode(b"caf\\xe9"), download=False), program="program")
"""


def test_a_process_ends_with_one_line_and_code_2_even_for_a_name_that_is_not_utf8():
    finished = python("-c", NOT_UTF8)
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert len(finished.stderr.splitlines()) == 1
    assert finished.stderr.startswith("program: error: caf")


def test_a_name_that_is_not_utf8_is_printed_as_it_is():
    code = "import os; from core_torch.commands.command_line import run; "
    code += "run(lambda: print(os.fsdecode(bytes([99, 233]))), program='program')"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:strict"}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=60)
    assert (finished.returncode, finished.stdout) == (0, b"c\xe9\n"), finished.stderr


LEAVING = """
from core_torch.commands.command_line import run
run(lambda: print("line\\n" * 100_000), program="program")
"""


def test_a_reader_who_leaves_early_sees_no_traceback():
    started = subprocess.Popen([sys.executable, "-c", LEAVING], env=os.environ | {"PYTHONPATH": str(ROOT)},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert started.stdout.readline() == "line\n"
    started.stdout.close()
    assert (started.stderr.read(), started.wait(60)) == ("", 0)


def test_an_output_folder_is_created_and_left_empty(tmp_path):
    folder = prepare_output(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []
    assert prepare_output(str(folder)) == folder


def test_an_output_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("kept")
    for name in ("file", "file/below", "n" * 300, "file/below/far"):
        with pytest.raises(ConfigError, match="^output: .* cannot be written to") as caught:
            prepare_output(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    assert (tmp_path / "file").read_text() == "kept"
    with pytest.raises(ConfigError, match="cannot be written to"):
        prepare_output("/proc/nothing-can-be-made-here")


def test_a_file_takes_the_place_of_no_device(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in {"/dev/null": "device or pipe", tmp_path / "pipe": "device or pipe", tmp_path: "folder"}.items():
        with pytest.raises(ConfigError, match=f"^json: found the {kind} {path}, allowed: a file$"):
            check_file("json", str(path))
    (tmp_path / "old").touch()
    check_file("json", str(tmp_path / "old"))
    check_file("json", str(tmp_path / "new"))


LOADED = """
import importlib, sys
for name in sys.argv[1].split(","):
    importlib.import_module(name)
print(*sorted({module.partition(".")[0] for module in sys.modules}))
"""


def frameworks_loaded_by(modules: list[str], *, path: tuple[Path, ...] = (ROOT,)) -> set[str]:
    finished = python("-c", LOADED, ",".join(modules), path=path)
    assert finished.returncode == 0, finished.stderr
    return set(finished.stdout.split()) & set(FRAMEWORKS)


def test_no_module_of_the_contract_loads_a_framework():
    folder = Path(core_torch.spec.__file__).parent
    modules = [f"core_torch.spec.{path.stem}" for path in folder.glob("*.py")]
    assert len(modules) > 10
    assert frameworks_loaded_by(["core_torch", "core_torch.spec", *modules]) == set()


def test_a_module_that_loaded_one_would_be_noticed(tmp_path):
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "offender.py").write_text("import json, torch")
    assert frameworks_loaded_by(["offender"], path=(tmp_path,)) == {"torch"}


def test_every_field_of_a_recipe_is_an_option_whose_help_says_its_range(parser, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for field in fields(Recipe):
        assert f"--{field.name.replace('_', '-')} " in text
    assert "images per step; 1 to 2147483647" in text
    assert "of the training split, held out; 0 to 0.5" in text


def test_a_switch_of_a_recipe_can_be_turned_on_and_off(parser):
    sgd = ["train", "--optimizer", "sgd", "--momentum", "0.5"]
    for option, expected in (([], False), (["--nesterov"], True), (["--no-nesterov"], False)):
        _, recipe = resolve_options(parser.parse_args([*sgd, *option]), models=("shallow",))
        assert recipe == Recipe(optimizer="sgd", momentum=0.5, nesterov=expected)


def test_a_field_that_is_declared_wrongly_would_be_noticed():
    @dataclass(frozen=True)
    class Small:
        count: int = integer(3, "how many", minimum=1, maximum=2)

        def __post_init__(self) -> None:
            check_fields(self)

    with pytest.raises(ConfigError, match="^count: found 3, allowed: an integer from 1 to 2$"):
        Small()
    assert Small(count=2).count == 2
