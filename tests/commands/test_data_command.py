"""`python -m core_torch data`: every file fetched once, checked, and mended where it was cut short."""

import gzip
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import time
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest

import core_torch
from core_torch.__main__ import main
from core_torch.files.sources import SOURCES, Source
from core_torch.files.splits import DATASETS

PROCESSES = 8
TRAIN_IMAGES = "train-images-idx3-ubyte"


def idx(name: str) -> bytes:
    """A small file in the format that its name claims."""
    shape, code = ((6, 28, 28), 8) if "images" in name else ((6, 8), 12) if "idx2" in name else ((6,), 8)
    values = np.random.default_rng(len(name)).integers(0, 10, shape)
    header = struct.pack(f">4B{len(shape)}I", 0, 0, code, len(shape), *shape)
    return header + values.astype("u1" if code == 8 else ">i4").tobytes()


@pytest.fixture
def server():
    """A mirror on the loopback interface: what it holds, and how often each file was asked for."""
    held, asked = {}, Counter()

    class Mirror(BaseHTTPRequestHandler):
        def do_GET(self):
            asked[self.path[1:]] += 1
            time.sleep(0.05)  # so that others come while this one is under way
            content = held.get(self.path[1:])
            self.send_response(200 if content else 404)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    yield SimpleNamespace(held=held, asked=asked, address=f"http://127.0.0.1:{listening.server_address[1]}/")
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def publish(server, monkeypatch):
    """Puts small files of a dataset on the mirror, and their checksums into the tables."""
    monkeypatch.setenv("no_proxy", "*")

    def put(dataset: str) -> dict[str, bytes]:
        real = SOURCES[dataset]
        contents = {name: idx(name) for name in real.archive_md5}
        archives = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in contents.items()}
        md5 = {name: hashlib.md5(archives[f"{name}.gz"]).hexdigest() for name in contents}
        bundle = None
        if real.bundle:
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as file:
                for name, archive in archives.items():
                    file.writestr(f"gzip/{name}", archive)
            archives = {real.bundle[0]: buffer.getvalue()}
            bundle, md5 = (real.bundle[0], hashlib.md5(buffer.getvalue()).hexdigest()), dict.fromkeys(contents, "")
        raw_md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
        server.held |= archives
        raw_md5 = raw_md5 if real.raw_md5 else {}
        small = Source(real.folder, (server.address,), md5, raw_md5, bundle)
        monkeypatch.setitem(SOURCES, dataset, small)
        return contents

    return put


@pytest.fixture
def data(monkeypatch, capsys, tmp_path):
    """Runs `data ACTION --dataset NAME`; (exit code, stdout lines, stderr)."""

    def start(action: str, dataset: str, *more: str) -> tuple[int, list[str], str]:
        arguments = ["data", action, "--dataset", dataset, "--data-root", str(tmp_path), *more]
        monkeypatch.setattr(sys, "argv", ["core_torch", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out.splitlines(), printed.err

    return start


def stored(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("dataset", SOURCES)
def test_a_dataset_is_fetched_verified_and_mended(data, publish, server, tmp_path, dataset):
    contents = publish(dataset)
    raw = tmp_path / SOURCES[dataset].folder / "raw"
    assert data("verify", dataset)[0] == 1
    code, lines, _ = data("prepare", dataset)
    assert (code, len(lines)) == (0, len(contents))
    assert stored(raw) == contents
    assert data("verify", dataset) == (0, [f"{name:36} intact" for name in contents], "")

    server.asked.clear()
    cut = sorted(contents)[0]
    (raw / cut).write_bytes(contents[cut][:-1])
    code, lines, _ = data("verify", dataset)
    assert (code, sum("intact" in line for line in lines)) == (1, len(contents) - 1)
    code, lines, _ = data("prepare", dataset)
    assert (code, sum("fetched" in line for line in lines)) == (0, 1)
    assert stored(raw) == contents
    assert sum(server.asked.values()) == 1


def test_what_is_printed_of_files_is_written_as_json_too(data, publish, tmp_path):
    publish("mnist")
    for action, word in (("verify", "is not there"), ("prepare", "fetched ("), ("prepare", "intact")):
        _, lines, _ = data(action, "mnist", "--json", str(tmp_path / "files.json"))
        written = json.loads((tmp_path / "files.json").read_text())
        assert [f"{name:36} {state}" for name, state in written.items()] == lines
        assert all(word in line for line in lines)


def test_a_wrong_byte_is_found_where_the_checksum_is_published(data, publish, tmp_path):
    contents = publish("mnist")
    data("prepare", "mnist")
    path = tmp_path / "MNIST" / "raw" / TRAIN_IMAGES
    path.write_bytes(contents[TRAIN_IMAGES][:-1] + b"\xff")
    code, lines, _ = data("verify", "mnist")
    assert code == 1
    assert f"{TRAIN_IMAGES}: found MD5" in lines[0]


def test_a_download_that_fails_leaves_what_was_there(data, publish, server, tmp_path):
    contents = publish("mnist")
    data("prepare", "mnist")
    path = tmp_path / "MNIST" / "raw" / TRAIN_IMAGES
    path.write_bytes(b"cut")
    server.held[f"{TRAIN_IMAGES}.gz"] = b"not the published file"
    code, lines, complaint = data("prepare", "mnist")
    assert (code, lines, complaint.count("\n")) == (2, [], 1)
    assert "is damaged and cannot be downloaded" in complaint
    assert stored(path.parent) == contents | {TRAIN_IMAGES: b"cut"}


CONTENDER = """
import json, sys
from core_torch.__main__ import main
from core_torch.files.splits import load_split
from core_torch.files.sources import SOURCES, Source
folder, mirrors, md5, raw = json.loads(sys.argv.pop(1))
SOURCES["mnist"] = Source(folder, tuple(mirrors), md5, raw)
if len(sys.argv) > 2:
    main()
load_split("mnist", root=sys.argv[1])
"""


@pytest.mark.parametrize("arguments", [["data", "prepare", "--data-root"], []])
def test_of_many_processes_one_fetches_each_file(publish, server, tmp_path, arguments):
    contents, root = publish("mnist"), tmp_path / "root"
    source = SOURCES["mnist"]
    told = json.dumps([source.folder, source.mirrors, source.archive_md5, source.raw_md5])
    environment = os.environ | {"PYTHONPATH": str(Path(core_torch.__file__).parents[1])}
    command = [sys.executable, "-c", CONTENDER, told, *arguments, str(root)]
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(PROCESSES)]
    assert [process.wait(60) for process in started] == [0] * PROCESSES
    assert server.asked == {f"{name}.gz": 1 for name in contents}
    assert stored(root / "MNIST" / "raw") == contents


def test_without_the_lock_a_file_would_be_fetched_more_than_once(publish, server, tmp_path, monkeypatch):
    """The twin: the server is slow enough for two to meet."""
    from core_torch.files.downloads import download

    publish("mnist")
    source = SOURCES["mnist"]
    names = list(source.archive_md5)
    started = [Thread(target=download, args=(source, tmp_path, names), kwargs={"dataset": "mnist"}) for _ in range(2)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert max(server.asked.values()) == 2


def test_what_loads_as_a_dataset_can_be_prepared():
    families = {dataset if dataset in SOURCES else dataset.partition("-")[0] for dataset in DATASETS}
    assert families == {*SOURCES, "digits", "synthetic"}
    from torchvision.datasets import EMNIST, QMNIST

    assert SOURCES["emnist"].bundle == ("gzip.zip", EMNIST.md5)
    assert EMNIST.url == SOURCES["emnist"].mirrors[0] + "gzip.zip"
    theirs = dict(QMNIST.resources["train"] + QMNIST.resources["test"])
    ours = SOURCES["qmnist"]
    assert theirs == {f"{ours.mirrors[0]}{name}.gz": md5 for name, md5 in ours.archive_md5.items()}
