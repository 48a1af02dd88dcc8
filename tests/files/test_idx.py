"""The IDX reader takes exact files and refuses every other with one line that names the file."""

import gzip
import os
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core_torch.files.idx import INT32, LARGEST_COUNT, check_md5, map_idx, read_idx
from core_torch.files.splits import load_split, read_images_and_labels
from core_torch.spec.errors import DataFormatError

IMAGE = (28, 28)
PEAK_BYTES = 16 << 20  # the most memory a hostile file may take


def refusal(path: Path, *, item_shape: tuple[int, ...] = IMAGE) -> str:
    """The message with which the file is refused."""
    with pytest.raises(DataFormatError) as caught:
        read_idx(path, item_shape=item_shape)
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) == 1
    return message


@pytest.fixture(params=["plain", "gz"])
def write(request, tmp_path):
    """Writes content, compressed or not, and returns the path."""

    def to_file(content: bytes) -> Path:
        path = tmp_path / ("file.gz" if request.param == "gz" else "file")
        path.write_bytes(gzip.compress(content, 1) if request.param == "gz" else content)
        return path

    return to_file


def test_a_good_file_is_read_exactly(write, idx_bytes, images, labels):
    read = read_idx(write(idx_bytes(images)), item_shape=IMAGE)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, images)
    np.testing.assert_array_equal(read_idx(write(idx_bytes(labels)), item_shape=()), labels)


def test_integers_of_32_bits_are_read_big_endian(write, idx_bytes):
    values = np.array([[1, -2], [70_000, 3]], dtype=">i4")
    path = write(idx_bytes(values, type_code=INT32))
    np.testing.assert_array_equal(read_idx(path, item_shape=(2,), type_code=INT32), values)


def test_a_file_cut_anywhere_is_refused(write, idx_bytes, images):
    whole = idx_bytes(images[:1])
    for length in range(len(whole)):
        message = refusal(write(whole[:length]))
        assert ("header" in message) or ("magic" in message and length < 4)


@pytest.mark.parametrize("extra", [b"\0", b"x" * 1000])
def test_extra_bytes_are_refused(write, idx_bytes, images, extra):
    assert "found more bytes" in refusal(write(idx_bytes(images) + extra))


@pytest.mark.parametrize(("position", "value"), [(0, 1), (1, 1), (2, 0x09), (2, 10), (2, 0x0D), (3, 1), (3, 2), (3, 4)])
def test_a_wrong_magic_number_is_refused(write, idx_bytes, images, position, value):
    content = bytearray(idx_bytes(images))
    content[position] = value
    message = refusal(write(bytes(content)))
    assert "magic number" in message
    assert "expected 00 00 08 03" in message


def test_swapped_endianness_is_refused(write, idx_bytes, images, labels):
    assert "items of shape" in refusal(write(idx_bytes(images, byte_order="<")))
    assert "count of 117,440,512" in refusal(write(idx_bytes(labels, byte_order="<")), item_shape=())


def test_images_of_another_size_are_refused(write, idx_bytes, images):
    assert "(28, 27), expected (28, 28)" in refusal(write(idx_bytes(images[:, :, :27])))
    assert "(27, 28), expected (28, 28)" in refusal(write(idx_bytes(images[:, :27])))
    assert "(14, 56), expected (28, 28)" in refusal(write(idx_bytes(images.reshape(7, 14, 56))))


@pytest.mark.parametrize("count", [0, LARGEST_COUNT + 1, 2**32 - 1])
def test_a_count_outside_the_range_is_refused(write, count):
    header = struct.pack(">4B3I", 0, 0, 8, 3, count, *IMAGE)
    assert f"count of {count:,}" in refusal(write(header))


def test_labels_must_be_as_many_as_images(write, tmp_path, idx_bytes, images, labels):
    labels_path = tmp_path / "labels"
    labels_path.write_bytes(idx_bytes(labels[:-1]))
    with pytest.raises(DataFormatError, match="found 6 labels, expected 7"):
        read_images_and_labels(write(idx_bytes(images)), labels_path)


def test_a_single_label_missing_from_mnists_60_000_is_noticed(tmp_path, idx_bytes):
    images_path, labels_path = tmp_path / "images", tmp_path / "labels"
    with images_path.open("wb") as file:
        file.write(struct.pack(">4B3I", 0, 0, 8, 3, 60_000, *IMAGE))
        file.truncate(16 + 60_000 * 784)
    labels_path.write_bytes(idx_bytes(np.zeros(59_999, dtype=np.uint8)))
    with pytest.raises(DataFormatError, match="found 59,999 labels, expected 60,000") as caught:
        read_images_and_labels(images_path, labels_path)
    assert str(labels_path) in str(caught.value)


@pytest.mark.parametrize("label", [10, 200, 255])
def test_a_label_outside_the_classes_is_refused(tmp_path, idx_bytes, images, labels, label):
    images_path, labels_path = tmp_path / "images", tmp_path / "labels"
    images_path.write_bytes(idx_bytes(images))
    labels_path.write_bytes(idx_bytes(np.where(labels == 5, label, labels).astype(np.uint8)))
    with pytest.raises(DataFormatError, match=f"found label {label}, expected 0 to 9"):
        read_images_and_labels(images_path, labels_path)
    read_images_and_labels(images_path, labels_path, classes=256)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_is_not_a_readable_file_is_refused(tmp_path, suffix):
    assert "No such file" in refusal(tmp_path / f"missing{suffix}")
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    assert "directory" in refusal(folder)
    loop = tmp_path / f"loop{suffix}"
    loop.symlink_to(loop)
    assert "symbolic links" in refusal(loop)
    assert "Not a directory" in refusal(Path(__file__) / f"file{suffix}")
    assert "too long" in refusal(tmp_path / f"{'n' * 300}{suffix}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_read_permission_is_refused(tmp_path, idx_bytes, images):
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(images))
    path.chmod(0)
    assert "Permission denied" in refusal(path)


def test_a_path_that_is_not_utf8_is_named_and_can_be_printed(tmp_path, idx_bytes, images):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / "images").write_bytes(idx_bytes(images))
    np.testing.assert_array_equal(read_idx(folder / "images", item_shape=IMAGE), images)
    assert refusal(folder / "missing").encode(errors="backslashreplace")


def test_content_that_is_not_gzip_is_refused_under_a_gz_name(tmp_path, idx_bytes, images):
    path = tmp_path / "file.gz"
    for content in (b"", b"\x1f\x8b", idx_bytes(images), b"<html>404</html>"):
        path.write_bytes(content)
        refusal(path)


def test_an_archive_cut_anywhere_is_refused(tmp_path, idx_bytes, images):
    path = tmp_path / "file.gz"
    archive = gzip.compress(idx_bytes(images[:1]))
    for length in range(len(archive)):
        path.write_bytes(archive[:length])
        refusal(path)


def test_a_damaged_archive_is_refused_or_reads_the_same(tmp_path, idx_bytes, images):
    """The gzip header's date and the first block's padding mean nothing; the CRC tells of all else."""
    path = tmp_path / "file.gz"
    archive = gzip.compress(idx_bytes(images[:1]), mtime=0)
    harmless = []
    for position in range(len(archive)):
        path.write_bytes(archive[:position] + bytes([archive[position] ^ 0x10]) + archive[position + 1 :])
        try:
            np.testing.assert_array_equal(read_idx(path, item_shape=IMAGE), images[:1])
            harmless.append(position)
        except DataFormatError as error:
            assert str(path) in str(error)
    assert set(harmless) <= set(range(11))


@pytest.mark.parametrize("trailer", [b"x", gzip.compress(b"x", mtime=0)], ids=["a byte", "a second member"])
def test_bytes_after_an_archive_are_refused(tmp_path, idx_bytes, images, trailer):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(idx_bytes(images)) + trailer)
    refusal(path)


def peak_bytes(call) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


BOMB_COUNT = 50_000  # images, 39.2 MB of zeros in about 38 kB


@pytest.mark.parametrize("claimed", [BOMB_COUNT, 5])
def test_a_gzip_bomb_is_refused_without_inflating_it(tmp_path, claimed):
    """One bomb tells its size in the header, the other pretends to be small."""
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, claimed, *IMAGE) + bytes(BOMB_COUNT * 784)))
    assert peak_bytes(lambda: refusal(path)) < PEAK_BYTES
    assert peak_bytes(lambda: gzip.decompress(path.read_bytes())) > PEAK_BYTES


def test_a_short_file_that_claims_a_long_body_takes_no_memory(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, LARGEST_COUNT, *IMAGE) + bytes(100))
    assert peak_bytes(lambda: refusal(path)) < PEAK_BYTES


ITEM = (2, 3)
VALID = struct.pack(">4B3I", 0, 0, 8, 3, 4, *ITEM) + bytes(range(24))


def splice(content: bytes, start: int, removed: int, inserted: bytes) -> bytes:
    start %= len(content)
    return content[:start] + inserted + content[start + removed :]


def edited(content: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """That content with up to 6 bytes at one place overwritten, removed or inserted."""
    return st.builds(splice, content, st.integers(0, 80), st.integers(0, 6), st.binary(max_size=6))


FUZZ = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


def check_fuzzed(path: Path, content: bytes, *, expand=bytes) -> None:
    """Either one clean refusal, or an array that encodes to the file's very content."""
    path.write_bytes(content)
    try:
        read = read_idx(path, item_shape=ITEM)
    except DataFormatError as error:
        assert str(path) in str(error)
        assert len(str(error).splitlines()) == 1
    else:
        assert struct.pack(">4B3I", 0, 0, 8, 3, *read.shape) + read.tobytes() == expand(content)


@settings(FUZZ, max_examples=3000)
@given(content=st.binary(max_size=64) | edited(st.just(VALID)))
def test_fuzzed_files_are_read_exactly_or_refused(tmp_path, content):
    check_fuzzed(tmp_path / "file", content)


@settings(FUZZ, max_examples=2000)
@given(archive=edited(st.just(gzip.compress(VALID, mtime=0))) | edited(st.just(VALID)).map(gzip.compress))
def test_fuzzed_archives_are_read_exactly_or_refused(tmp_path, archive):
    check_fuzzed(tmp_path / "file.gz", archive, expand=gzip.decompress)


def test_the_wrong_md5_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    check_md5(path, "900150983cd24fb0d6963f7d28e17f72")  # RFC 1321, A.5
    path.write_bytes(b"abd")
    with pytest.raises(DataFormatError, match="expected 900150983cd24fb0d6963f7d28e17f72") as caught:
        check_md5(path, "900150983cd24fb0d6963f7d28e17f72")
    assert str(path) in str(caught.value)
    with pytest.raises(DataFormatError, match="cannot be read"):
        check_md5(tmp_path / "missing", "")


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_a_changed_byte_that_keeps_the_format_fails_the_checksum(tmp_path, small_mnist, small_files, fill, name):
    folder = fill(tmp_path, small_files)
    assert len(load_split("mnist", root=tmp_path, download=False)) == 7
    content = small_files[name]
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataFormatError, match="found MD5 .* not the published file") as caught:
        load_split("mnist", root=tmp_path, download=False)
    assert name in str(caught.value)


@pytest.mark.mnist
def test_one_changed_pixel_of_the_real_files_is_noticed(tmp_path, mnist_root):
    folder = tmp_path / "MNIST" / "raw"
    shutil.copytree(mnist_root / "MNIST" / "raw", folder, ignore=shutil.ignore_patterns("train*"))
    path = folder / "t10k-images-idx3-ubyte"
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(16 + 784 * 5_000)
        file.write(b"\x01")
    with pytest.raises(DataFormatError, match="found MD5 .*expected 2646ac647ad5339dbf082846283269ea"):
        load_split("mnist", train=False, root=tmp_path, download=False)


def test_a_mapped_file_holds_what_a_read_one_does_and_is_not_changed_by_writing(tmp_path, idx_bytes, images):
    path = tmp_path / "images"
    path.write_bytes(idx_bytes(images))
    mapped = map_idx(path, item_shape=IMAGE)
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, read_idx(path, item_shape=IMAGE))
    mapped[:] = 7
    assert np.array_equal(read_idx(path, item_shape=IMAGE), images)


CHANGES = [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b"x" + raw, gzip.compress]


@pytest.mark.parametrize("change", CHANGES)
def test_what_cannot_be_mapped_as_it_is_is_refused(tmp_path, idx_bytes, images, change):
    path = tmp_path / "images"
    path.write_bytes(change(idx_bytes(images)))
    with pytest.raises(DataFormatError, match=str(path)):
        map_idx(path, item_shape=IMAGE)
    with pytest.raises(DataFormatError, match="cannot be read"):
        map_idx(tmp_path / "missing", item_shape=IMAGE)
