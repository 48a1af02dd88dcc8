"""Bad arguments and bad files for every command of every port, made from what their own parsers say.

`python -m tests.reliability.mistakes PORT` reads command lines as JSON and says how each was answered, in one process.
"""

import argparse
import contextlib
import gzip
import importlib
import io
import json
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from core_torch.spec.recipe import Recipe

PORTS = ("core_torch", "lightning_impl", "keras_impl", "benchmarks")
INTEGERS = ("-1", "1.5", "x", "", "nan", "9" * 400, "0x10", "[1]", "{}")
NUMBERS = ("nan", "inf", "-inf", "-1", "1e309", "x", "", "1,5", "0x1p3", "[0.1]")
SWITCHES = ("x", "2", "nan", "[true]", "-1")
NAMES = ("", "x", " ", "No", "ПРИВЕТ", "a" * 3000, "../../etc/passwd", "a\nb", "\udcff", "0")
PATHS = ("", "{file}", "{file}/x", "n" * 300, "/proc/nowhere/x", "/dev/null/x")
FILES = ("", "{file}", "{bytes}", "{folder}", "{folder}/none", "/dev/zero", "{pipe}", "n" * 300)
TOML = ("true", "'x'", "[1]", "{a = 1}", "nan", "-1", "2026-01-01", "99999999999999999999")
YAML = ("{a: 1}", "[1, 2]", "x y", "'", ".nan", "-1")
# What an option needs beside it to be judged by its own value.
CONTEXTS = {
    "corruption": ["--objective", "denoising"],
    "corruption_level": ["--objective", "denoising"],
    "contraction": ["--objective", "contractive"],
    "solver": ["--model", "randomized-deep"],
    "data_root": ["--dataset", "mnist"],
    "model.corruption": ["--model.objective", "denoising"],
    "model.corruption_level": ["--model.objective", "denoising"],
    "model.contraction": ["--model.objective", "contractive"],
    "model.solver": ["--model.architecture", "randomized-deep"],
    "data.data_root": ["--data.dataset", "mnist"],
}
NEEDED = {"parity": ["shallow-standard", "core_torch"], "data": ["prepare"]}
TO_READ = {"recipe", "against", "ckpt_path", "weights", "config"}  # paths of what is read, and of what is written
TO_WRITE = {"output", "json", "log", "backup", "tensorboard", "data_root"}
# Whatever is given here may be right.
LEFT_OUT = {"help", "print_config", "weights_only", "tensorboard", "command", "worker", "verbose", "return_predictions"}


def commands(port: str) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    if port == "lightning_impl":
        from lightning_impl.options import build_parser

        return {name: build_parser(name) for name in ("fit", "test")}
    home = "commands" if port == "keras_impl" else "__main__"
    parser = importlib.import_module(f"{port}.{home}").build_parser()
    (branches,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(branches.choices)


def values(action: argparse.Action) -> tuple[str, ...]:
    """None of which the option may have."""
    name, kind = action.dest.rpartition(".")[2], f"{action.metavar} "
    if name in TO_READ:
        return FILES
    if name in TO_WRITE:
        return tuple(path for path in PATHS if path != "{file}" or name not in ("json", "log"))
    if name == "seed_everything":
        return ("x", "nan", "[1]")  # a name like No is none here, and means that nothing is seeded
    if action.type is int or kind.startswith("int"):
        found = INTEGERS if name != "steps_per_execution" else INTEGERS[:5]  # more steps than there are is no mistake
        return tuple(value for value in found if "." not in action.dest or value != "0x10")  # 16 in YAML
    if action.type is float or kind.startswith("float"):
        return NUMBERS
    return SWITCHES if kind.startswith("bool") else NAMES


def arguments(port: str) -> Iterator[list[str]]:
    """Command lines each with one mistake."""
    yield from (["trian"], [""], ["-x"], ["--epochs"], ["\udcff"])
    for command, parser in commands(port).items():
        positional = [action for action in parser._actions if action.required and not action.option_strings]
        others = NEEDED.get(command, ["{folder}/none"] * len(positional))
        yield from ([command, "--nonsense=1", *others], [command, *others, "--no-such-thing", "x"])
        for action in parser._actions:
            if action.dest in LEFT_OUT or not action.option_strings or action.dest.startswith("trainer"):
                continue
            option = action.option_strings[-1]
            required = [other for other in parser._actions if other.required and other not in (action, *positional)]
            needed = [*(f"{other.option_strings[-1]}=given.npz" for other in required), *others]
            yield [command, *needed, f"{option[:-2]}{option[-1]}=1"]
            if action.nargs == 0:
                yield [command, *needed, f"{option}=yes"]
                continue
            yield [command, *needed, option]
            before = CONTEXTS.get(action.dest, [])
            before = before if before[:1] in ([option] for option in parser._option_string_actions) else []
            yield from ([command, *before, f"{option}={value}", *needed] for value in values(action))


def configurations(port: str, folder: Path) -> Iterator[list[str]]:
    """Command lines with a file that has a mistake in it, and that is written here."""
    folder.mkdir(exist_ok=True)
    names = [field.name for field in fields(Recipe)]
    if port == "benchmarks":
        texts = ["", "{", "[]", "null", "\udcff", '{"schema": 99}', '{"schema": 2}', '{"schema": 2, "agreement": 1}']
        contents = [text.encode(errors="surrogateescape") for text in texts]
        lines = [["compare", "{}", "{}"], ["markdown", "{}"], ["verify", "{}", "--output", "out"]]
    elif port == "lightning_impl":
        texts = [f"model: {{{name}: {value}}}" for name in names for value in YAML]
        texts += ["model: [", "modle: {}", "model: 3", "data: 3", "trainer: 3", "3", "\0", "data: {a: 1}"]
        contents = [text.encode() for text in texts]
        lines = [["fit", "--config", "{}"]]
    else:
        texts = [f"{name} = {value}" for name in (*names, "model", "dataset", "preset") for value in TOML]
        contents = [text.encode() for text in (*texts, "epoch = 3", "a", "[model]", "epochs = 3\nepochs = 4")]
        lines = [["train", "--recipe", "{}"]]
    for number, content in enumerate(contents):
        path = folder / f"{number}.yaml"
        path.write_bytes(content)
        yield from ([part.replace("{}", str(path)) for part in line] for line in lines)


def places(folder: Path) -> dict[str, str]:
    """What stands in braces in command lines."""
    (folder / "folder").mkdir()
    (folder / "file").write_text("a regular file")
    (folder / "bytes").write_bytes(b"\xff\xfe")
    os.mkfifo(folder / "pipe")
    return {name: str(folder / name) for name in ("folder", "file", "bytes", "pipe")}


def filled(line: list[str], known: dict[str, str]) -> list[str]:
    for name, path in known.items():
        line = [part.replace(f"{{{name}}}", path) for part in line]
    return line


# ---- Datasets that are not as they should be, for every port -------------------------------------------------------

SIDE = 28
COUNT = 30


def idx(shape: tuple[int, ...], content: bytes, *, code: int = 8) -> bytes:
    return struct.pack(f">4B{len(shape)}I", 0, 0, code, len(shape), *shape) + content


IMAGES = idx((COUNT, SIDE, SIDE), bytes(COUNT * SIDE**2))
LABELS = idx((COUNT,), bytes(COUNT))
PACKED = gzip.compress(IMAGES, mtime=0)
CORPUS = {  # a file, and what is in its place
    "empty": ("train-images-idx3-ubyte", b""),
    "two bytes": ("train-images-idx3-ubyte", b"\0\0"),
    "a header alone": ("train-images-idx3-ubyte", IMAGES[:16]),
    "cut short": ("train-images-idx3-ubyte", IMAGES[:-1]),
    "too long": ("train-images-idx3-ubyte", IMAGES + b"\0"),
    "labels in their place": ("train-images-idx3-ubyte", LABELS),
    "images in their place": ("train-labels-idx1-ubyte", IMAGES),
    "another number of labels": ("train-labels-idx1-ubyte", idx((COUNT - 1,), bytes(COUNT - 1))),
    "a label above 9": ("train-labels-idx1-ubyte", idx((COUNT,), bytes([10] * COUNT))),
    "no images": ("train-images-idx3-ubyte", idx((0, SIDE, SIDE), b"")),
    "27 columns": ("train-images-idx3-ubyte", idx((COUNT, SIDE, SIDE - 1), bytes(COUNT * SIDE * (SIDE - 1)))),
    "little-endian": ("train-images-idx3-ubyte", struct.pack("<4B3I", 0, 0, 8, 3, COUNT, SIDE, SIDE) + IMAGES[16:]),
    "floats": ("train-images-idx3-ubyte", idx((COUNT, SIDE, SIDE), bytes(4 * COUNT * SIDE**2), code=13)),
    "text": ("train-images-idx3-ubyte", b"<html>404</html>"),
    "cut gzip": ("train-images-idx3-ubyte.gz", PACKED[:-9]),
    "gzip of a wrong sum": ("train-images-idx3-ubyte.gz", PACKED[:-8] + b"\1" + PACKED[-7:]),
    "no gzip": ("train-images-idx3-ubyte.gz", IMAGES),
    "a bomb": ("train-images-idx3-ubyte.gz", gzip.compress(idx((10**6, SIDE, SIDE), bytes(10**6)))),
    "a folder": ("train-images-idx3-ubyte", "folder"),
    "a link to itself": ("train-images-idx3-ubyte", "loop"),
    "a pipe": ("train-images-idx3-ubyte", "pipe"),
    "a device": ("train-images-idx3-ubyte", "device"),
}


def write_corpus(folder: Path, name: str) -> Path:
    """FashionMNIST, of which no checksum is known once it is unpacked, with one thing wrong."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(IMAGES)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(LABELS)
    file, content = CORPUS[name]
    (raw / file.removesuffix(".gz")).unlink()
    path = raw / file
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if content == "loop" else "/dev/zero")
    return folder


# ---- The process that is given command lines -----------------------------------------------------------------------


def answers(port: str, lines: list[list[str]]) -> Iterator[dict[str, object]]:
    """Exit code, what was said on standard error, and what lies in the working directory afterwards."""
    main = importlib.import_module(f"{port}.__main__").main
    for line in lines:
        before = set(os.listdir("."))
        sys.argv = [f"python -m {port}", *line]
        said, code = io.StringIO(), None
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            try:
                main()
            except SystemExit as end:
                code = end.code
            except BaseException as error:
                code = f"raises {type(error).__name__}: {error}"
        yield {"code": code, "said": said.getvalue(), "left": sorted({*os.listdir(".")} - before)}


if __name__ == "__main__":
    for answer in answers(sys.argv[1], json.load(sys.stdin)):
        print(json.dumps(answer), flush=True)
