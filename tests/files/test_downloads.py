"""Files are looked for in a fixed order and fetched whole, checked and at once, or not at all."""

import gzip
import hashlib
import os
import socket
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from core_torch.files import fetch
from core_torch.files.sources import EMNIST_SPLITS, SOURCES, Source, locate, raw_folder
from core_torch.files.splits import load_split
from core_torch.spec.errors import DataFormatError

IMAGES = "train-images-idx3-ubyte"


@pytest.fixture(autouse=True)
def away_from_the_users_data(tmp_path, monkeypatch):
    monkeypatch.delenv("MNIST_ROOT", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)


def loads(root=None, **options) -> int:
    """The number of training images found."""
    return len(load_split("mnist", root=root, **options))


def test_the_roots_are_tried_in_order(tmp_path, monkeypatch, small_mnist, small_files, fill, idx_bytes, images, labels):
    def files(count):
        return {IMAGES: idx_bytes(images[:count]), "train-labels-idx1-ubyte": idx_bytes(labels[:count])}

    monkeypatch.setitem(SOURCES, "mnist", replace(small_mnist, raw_md5={}))
    for count, root in enumerate(("data", "variable", "argument"), start=1):
        fill(tmp_path / root, files(count))
    assert loads() == 1
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path / "variable"))
    assert loads() == 2
    assert loads(root=tmp_path / "argument") == 3
    assert loads(root=str(tmp_path / "argument")) == 3
    monkeypatch.setenv("MNIST_ROOT", "")
    assert loads() == 1


def test_each_dataset_has_its_own_folder():
    assert raw_folder(SOURCES["mnist"], "root") == Path("root/MNIST/raw")
    assert raw_folder(SOURCES["fashion-mnist"], "root") == Path("root/FashionMNIST/raw")
    assert raw_folder(SOURCES["kmnist"], "root") == Path("root/KMNIST/raw")


def test_the_plain_file_is_preferred_to_the_archive_beside_it(tmp_path, small_mnist, small_files, fill):
    folder = fill(tmp_path, {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in small_files.items()})
    assert locate(folder, IMAGES) == folder / f"{IMAGES}.gz"
    assert loads(root=tmp_path) == 7
    (folder / IMAGES).write_bytes(small_files[IMAGES])
    (folder / f"{IMAGES}.gz").write_bytes(b"not read")
    assert locate(folder, IMAGES) == folder / IMAGES
    assert loads(root=tmp_path) == 7


def test_an_archive_is_checked_against_its_own_md5(tmp_path, small_mnist, small_files, fill):
    archives = {f"{name}.gz": gzip.compress(content, mtime=1) for name, content in small_files.items()}
    fill(tmp_path, archives)  # another date in the header: the same pixels, but not the published file
    with pytest.raises(DataFormatError, match=r"train-images-idx3-ubyte\.gz: found MD5"):
        loads(root=tmp_path)


def test_the_published_checksums_are_complete():
    for source in SOURCES.values():
        archives = [source.bundle[1]] if source.bundle else source.archive_md5.values()
        assert len(source.archive_md5) == (4 * len(EMNIST_SPLITS) if source.bundle else 4)
        assert source.raw_md5.keys() <= source.archive_md5.keys()
        for md5 in (*archives, *source.raw_md5.values()):
            assert len(bytes.fromhex(md5)) == 16


def test_without_a_download_absent_files_are_named(tmp_path):
    with pytest.raises(DataFormatError, match=f"{IMAGES}: cannot be read"):
        loads(root=tmp_path, download=False)


def test_a_root_that_cannot_be_a_folder_is_refused():
    with pytest.raises(DataFormatError, match="too long"):
        loads(root="n" * 300, download=False)


@pytest.fixture
def closed_port():
    """An address that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"


def set_mirrors(monkeypatch, source: Source, *mirrors: str) -> None:
    monkeypatch.setitem(SOURCES, "mnist", replace(source, mirrors=mirrors))


def test_offline_one_line_says_what_to_do(tmp_path, monkeypatch, small_mnist, closed_port):
    set_mirrors(monkeypatch, small_mnist, closed_port)
    with pytest.raises(DataFormatError) as caught:
        loads(root=tmp_path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in ("dataset mnist", str(tmp_path), "--data-root", "MNIST_ROOT", "--dataset digits", "refused"):
        assert part in message
    assert files_under(tmp_path) == set()


class Mirror(SimpleHTTPRequestHandler):
    """Serves a folder without a word, and remembers what it was asked for."""

    requested: list[str] = []

    def do_GET(self):
        self.requested.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        pass


class Garbage(BaseHTTPRequestHandler):
    """Answers with something that is not HTTP."""

    def do_GET(self):
        self.wfile.write(b"\x00\x01 this is no status line\r\n\r\n")
        self.close_connection = True

    def log_message(self, *args):
        pass


class Interrupted(Garbage):
    """Promises the whole file and sends its first half."""

    def __init__(self, *args, folder: Path):
        self.folder = folder
        super().__init__(*args)

    def do_GET(self):
        content = (self.folder / self.path.lstrip("/")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])


class InterruptedChunk(Interrupted):
    """The same with chunked transfer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"1000\r\nonly this")
        self.close_connection = True


class Endless(Garbage):
    """Sends the whole file and goes on."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 16))


class Slow(Garbage):
    """Sends a byte now and then."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(b"x")
                time.sleep(0.05)


@pytest.fixture
def serve():
    """Starts servers on the loopback interface; each call returns an address."""
    servers = []

    def start(handler) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def published(tmp_path, small_files) -> Path:
    """A folder with the four archives, as a mirror holds them."""
    folder = tmp_path / "published"
    folder.mkdir()
    for name, content in small_files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
    return folder


@pytest.fixture
def mirror(serve, published, monkeypatch) -> str:
    monkeypatch.setattr(Mirror, "requested", [])
    return serve(partial(Mirror, directory=str(published)))


def files_under(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if not path.is_dir()}


def test_absent_files_are_downloaded_once(tmp_path, monkeypatch, small_mnist, small_files, images, mirror):
    set_mirrors(monkeypatch, small_mnist, mirror)
    root = tmp_path / "root"
    np.testing.assert_array_equal(load_split("mnist", root=root).images, images)
    assert files_under(root) == set(small_files)
    assert [path.name for path in (root / "MNIST" / "raw").iterdir() if path.is_dir()] == []
    assert len(load_split("mnist", train=False, root=root)) == 4
    assert sorted(Mirror.requested) == sorted(f"/{name}.gz" for name in small_files)


def test_only_what_is_absent_is_downloaded(tmp_path, monkeypatch, small_mnist, small_files, fill, mirror):
    set_mirrors(monkeypatch, small_mnist, mirror)
    present = {name: content for name, content in small_files.items() if name != IMAGES}
    folder = fill(tmp_path / "root", present)
    before = {name: (folder / name).stat().st_mtime_ns for name in present}
    assert loads(root=tmp_path / "root") == 7
    assert Mirror.requested == [f"/{IMAGES}.gz"]
    assert before == {name: (folder / name).stat().st_mtime_ns for name in present}


def test_nothing_is_asked_of_a_mirror_when_downloads_are_off(tmp_path, monkeypatch, small_mnist, mirror):
    set_mirrors(monkeypatch, small_mnist, mirror)
    with pytest.raises(DataFormatError):
        loads(root=tmp_path / "root", download=False)
    assert Mirror.requested == []


def refused_download(root: Path) -> str:
    """The one-line reason; nothing of a download that failed is left behind."""
    with pytest.raises(DataFormatError, match="cannot be downloaded") as caught:
        loads(root=root)
    assert files_under(root) == set()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_download_with_the_wrong_md5_is_refused(tmp_path, monkeypatch, small_mnist, published, mirror):
    set_mirrors(monkeypatch, small_mnist, mirror)
    archive = bytearray((published / f"{IMAGES}.gz").read_bytes())
    archive[4] ^= 1  # the header's date: it would unpack to the very same pixels
    (published / f"{IMAGES}.gz").write_bytes(archive)
    assert "found MD5" in refused_download(tmp_path / "root")


def test_an_archive_that_does_not_unpack_is_refused(tmp_path, monkeypatch, small_mnist, published, mirror):
    cut = (published / f"{IMAGES}.gz").read_bytes()[:-10]
    (published / f"{IMAGES}.gz").write_bytes(cut)
    source = replace(small_mnist, archive_md5=small_mnist.archive_md5 | {IMAGES: hashlib.md5(cut).hexdigest()})
    set_mirrors(monkeypatch, source, mirror)
    assert "end-of-stream" in refused_download(tmp_path / "root")


@pytest.mark.parametrize("handler", [Interrupted, InterruptedChunk])
def test_a_download_that_breaks_off_is_refused(tmp_path, monkeypatch, small_mnist, serve, published, handler):
    set_mirrors(monkeypatch, small_mnist, serve(partial(handler, folder=published)))
    refused_download(tmp_path / "root")


def test_a_server_that_does_not_speak_http_is_refused(tmp_path, monkeypatch, small_mnist, serve):
    set_mirrors(monkeypatch, small_mnist, serve(Garbage))
    refused_download(tmp_path / "root")


def test_a_download_of_no_end_is_refused(tmp_path, monkeypatch, small_mnist, serve):
    set_mirrors(monkeypatch, replace(small_mnist, largest_download=10_000_000), serve(Endless))
    assert "found more than 10,000,000 bytes" in refused_download(tmp_path / "root")


def test_a_download_that_takes_too_long_is_refused_though_bytes_come(tmp_path, monkeypatch, small_mnist, serve):
    set_mirrors(monkeypatch, small_mnist, serve(Slow))
    monkeypatch.setattr(fetch, "DEADLINE_SECONDS", 0.5)
    started = time.monotonic()
    assert "after 0.5 s, allowed: the whole file" in refused_download(tmp_path / "root")
    assert time.monotonic() - started < 10


def test_without_the_library_that_fetches_its_extra_is_named(tmp_path, monkeypatch, small_mnist, mirror):
    set_mirrors(monkeypatch, small_mnist, mirror)
    monkeypatch.setattr("core_torch.spec.extras.find_spec", lambda name: None)
    assert "(requests: not installed, allowed: pip install autoencoder-reference[downloads])" in refused_download(
        tmp_path / "root"
    )
    assert Mirror.requested == []


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, small_mnist, mirror):
    def fail(*args):
        raise OSError(28, "No space left on device")

    set_mirrors(monkeypatch, small_mnist, mirror)
    monkeypatch.setattr(os, "replace", fail)
    assert "No space left" in refused_download(tmp_path / "root")


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch, small_mnist, small_files, mirror):
    """At the moment of the move the new file is complete, on the same file system, and not yet in place."""
    seen = []

    def replace_and_look(source, target):
        seen.append(Path(source).read_bytes() == small_files[Path(target).name])
        assert not Path(target).exists()
        assert Path(source).is_relative_to(Path(target).parent)
        Path(source).rename(target)

    set_mirrors(monkeypatch, small_mnist, mirror)
    monkeypatch.setattr(os, "replace", replace_and_look)
    loads(root=tmp_path / "root")
    assert seen == [True] * 4


def test_the_second_mirror_is_used_when_the_first_fails(tmp_path, monkeypatch, small_mnist, serve, closed_port, mirror):
    empty = tmp_path / "empty"
    empty.mkdir()
    not_found = serve(partial(Mirror, directory=str(empty)))
    for number, broken in enumerate((closed_port, not_found, serve(Garbage))):
        set_mirrors(monkeypatch, small_mnist, broken, mirror)
        assert loads(root=tmp_path / f"root-{number}") == 7


def test_a_mirror_with_damaged_files_is_passed_over(tmp_path, monkeypatch, small_mnist, serve, published, mirror):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for archive in published.iterdir():
        (damaged / archive.name).write_bytes(archive.read_bytes()[:-1] + b"\xff")
    set_mirrors(monkeypatch, small_mnist, serve(partial(Mirror, directory=str(damaged))), mirror)
    assert loads(root=tmp_path / "root") == 7
