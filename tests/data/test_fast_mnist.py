"""FastMNIST and its siblings do what torchvision's datasets do, on made-up files and on the real ones."""

import os
import pickle
import struct
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, Subset, random_split
from torchvision import datasets
from torchvision.transforms import Compose, Normalize, PILToTensor, RandomHorizontalFlip, ToTensor, v2

from core_torch.data.compiled import CompiledDataset
from core_torch.data.corruption import Corruption
from core_torch.data.mnist import FastEMNIST, FastFashionMNIST, FastKMNIST, FastMNIST, FastQMNIST, NoisyMNIST
from core_torch.files.sources import EMNIST_SPLITS, SOURCES
from core_torch.files.splits import load_split
from core_torch.spec.errors import ConfigError, DataFormatError

TRAIN, TEST = 30, 12  # made-up images
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (TRAIN, 28, 28), dtype=np.uint8)
LABELS = RANDOM.permutation(np.arange(TRAIN) % 10).astype(np.uint8)
COLUMNS = RANDOM.integers(0, 10, (TRAIN, 8)).astype(">i4")  # a QMNIST label
NORMALIZE = Compose([ToTensor(), Normalize((0.1307,), (0.3081,))])
SECOND = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.RandomInvert(p=1)])


def idx(values: np.ndarray) -> bytes:
    """The IDX file of uint8 or big-endian int32 values, written from the format's description."""
    header = bytes([0, 0, 0x08 if values.itemsize == 1 else 0x0C, values.ndim])
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write(folder: Path, files: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for name, values in files.items():
        (folder / name).write_bytes(idx(values))


def four_files(prefix: str = "", parts: tuple[str, str] = ("train", "t10k"), *, first_label: int = 0) -> dict:
    labels = LABELS + np.uint8(first_label)
    return {
        f"{prefix}{parts[0]}-images-idx3-ubyte": IMAGES,
        f"{prefix}{parts[0]}-labels-idx1-ubyte": labels,
        f"{prefix}{parts[1]}-images-idx3-ubyte": IMAGES[:TEST],
        f"{prefix}{parts[1]}-labels-idx1-ubyte": labels[:TEST],
    }


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A folder with MNIST/raw; its files are not the published ones, so the checksums are taken away."""
    published = SOURCES["mnist"]
    names = dict.fromkeys(published.archive_md5, "")
    monkeypatch.setitem(SOURCES, "mnist", replace(published, archive_md5=names, raw_md5={}, mirrors=()))
    monkeypatch.delenv("MNIST_ROOT", raising=False)
    write(tmp_path / "MNIST" / "raw", four_files())
    return tmp_path


def same(ours: object, theirs: object) -> bool:
    """Equal down to the last bit and the type of each part."""
    if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
        return ours.dtype == theirs.dtype and ours.shape == theirs.shape and torch.equal(ours, theirs)
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


def shuffled(dataset) -> DataLoader:
    return DataLoader(dataset, batch_size=7, shuffle=True, generator=torch.Generator().manual_seed(0))


def by_the_batch(dataset) -> DataLoader:
    """Whole batches by index: one gather for us; torchvision's cannot, so it gets them one by one."""
    batches = BatchSampler(SequentialSampler(dataset), batch_size=7, drop_last=False)
    if isinstance(dataset, FastMNIST):
        return DataLoader(dataset, sampler=batches, batch_size=None)
    return DataLoader(dataset, batch_sampler=batches)


READINGS: dict[str, Callable] = {
    "length": len,
    "every item": list,
    "first item": lambda dataset: dataset[0],
    "last item": lambda dataset: dataset[-1],
    "item by a NumPy integer": lambda dataset: dataset[np.int64(3)],
    "type of a label": lambda dataset: type(dataset[3][1]),
    "classes": lambda dataset: dataset.classes,
    "class_to_idx": lambda dataset: dataset.class_to_idx,
    "train": lambda dataset: dataset.train,
    "root": lambda dataset: dataset.root,
    "mirrors": lambda dataset: dataset.mirrors,
    "resources": lambda dataset: dataset.resources,
    "raw_folder": lambda dataset: dataset.raw_folder,
    "extra_repr": lambda dataset: dataset.extra_repr(),
    "repr": lambda dataset: repr(dataset).replace("Fast", "").split("StandardTransform")[0],
    "is an MNIST": lambda dataset: isinstance(dataset, datasets.MNIST),
    "DataLoader": lambda dataset: list(DataLoader(dataset, batch_size=7)),
    "shuffled DataLoader": lambda dataset: list(shuffled(dataset)),
    "DataLoader without the last batch": lambda dataset: list(DataLoader(dataset, 7, drop_last=True)),
    "batches by index": lambda dataset: list(by_the_batch(dataset)),
    "weighted by labels": lambda dataset: [label for _, label in dataset],
    "Subset": lambda dataset: list(Subset(dataset, [5, 3, 3])),
    "random_split": lambda dataset: [
        list(part) for part in random_split(dataset, [0.8, 0.2], torch.Generator().manual_seed(0))
    ],
    "ConcatDataset": lambda dataset: list(dataset + dataset),
    "deep copy": lambda dataset: list(deepcopy(dataset)),
    "sent to a worker": lambda dataset: list(pickle.loads(pickle.dumps(dataset))),  # noqa: S301
}


@pytest.mark.parametrize("reading", READINGS)
def test_a_reading_is_torchvisions(root, reading):
    read = READINGS[reading]
    assert same(read(FastMNIST(root, transform=ToTensor())), read(datasets.MNIST(root, transform=ToTensor())))


def test_without_a_transform_an_item_is_what_to_tensor_makes(root):
    assert same(list(FastMNIST(root)), list(datasets.MNIST(root, transform=ToTensor())))


CONSTRUCTORS: dict[str, Callable] = {
    "test split by position": lambda kind, root: kind(root, False, ToTensor()),
    "test split by name": lambda kind, root: kind(root=root, train=False, transform=ToTensor()),
    "all by position": lambda kind, root: kind(root, True, NORMALIZE, lambda label: 9 - label, False),
    "root as text": lambda kind, root: kind(str(root), transform=ToTensor()),
    "download of what is there": lambda kind, root: kind(root, transform=ToTensor(), download=True),
    "normalised": lambda kind, root: kind(root, transform=NORMALIZE),
    "flattened": lambda kind, root: kind(root, transform=Compose([ToTensor(), torch.flatten])),
    "second transforms": lambda kind, root: kind(root, transform=SECOND),
    "other labels": lambda kind, root: kind(root, True, ToTensor(), lambda label: label % 2),
    "fractional labels": lambda kind, root: kind(root, True, ToTensor(), lambda label: label / 8),
    "one-hot labels": lambda kind, root: kind(root, True, ToTensor(), torch.eye(10).__getitem__),
}


@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_a_constructor_call_means_what_torchvisions_means(root, constructor):
    construct = CONSTRUCTORS[constructor]
    assert same(list(construct(FastMNIST, root)), list(construct(datasets.MNIST, root)))


def test_the_comparison_sees_one_pixel_one_label_and_one_type(root):
    theirs = list(datasets.MNIST(root, transform=ToTensor()))
    for wrong in (
        lambda image, label: (image.clone().index_fill_(1, torch.tensor(0), 0.5), label),
        lambda image, label: (image, (label + 1) % 10),
        lambda image, label: (image, torch.tensor(label)),
        lambda image, label: (image.double(), label),
        lambda image, label: (image.mul(255).mul(1 / 255), label),
    ):
        assert not same([wrong(*item) for item in theirs], theirs)


def test_a_transform_is_applied_once_to_each_image(root):
    calls = []
    dataset = FastMNIST(root, transform=lambda image: calls.append(0) or ToTensor()(image))
    assert len(calls) == TRAIN
    for _ in range(2):
        list(dataset.batches(8)), dataset[3]
    assert len(calls) == TRAIN


def test_a_random_transform_is_drawn_image_by_image(root):
    torch.manual_seed(0)
    flipped = FastMNIST(root, transform=Compose([RandomHorizontalFlip(), ToTensor()])).data
    plain = FastMNIST(root).data
    is_same = (flipped == plain).flatten(1).all(1)
    assert torch.equal(torch.where(is_same[:, None, None, None], plain, plain.flip(-1)), flipped)
    assert 0 < is_same.sum() < TRAIN


def test_a_transform_to_codes_keeps_the_pixels(root):
    assert same(list(FastMNIST(root, transform=PILToTensor())), list(FastMNIST(root)))


def test_changing_an_item_in_place_leaves_the_dataset_alone(root):
    dataset = FastMNIST(root)
    for key in (3, -1, slice(0, 5), [1, 2]):
        dataset[key][0].zero_()
    assert torch.equal(dataset.data, FastMNIST(root).data)


def test_a_transform_that_makes_no_tensor_is_refused(root):
    with pytest.raises(ConfigError, match="transform"):
        FastMNIST(root, transform=RandomHorizontalFlip())


def test_data_targets_and_labels_have_their_shapes_and_types(root):
    dataset = FastMNIST(root)
    assert (dataset.data.shape, dataset.data.dtype) == ((TRAIN, 1, 28, 28), torch.float32)
    assert (dataset.targets.shape, dataset.targets.dtype) == ((TRAIN, 784), torch.float32)
    assert torch.equal(dataset.labels, torch.tensor(LABELS.astype(np.int64)))
    assert torch.equal(dataset.data.flatten(1), dataset.targets)
    assert dataset.data.min() == 0 and dataset.data.max() == 1
    assert dataset.device == torch.device("cpu")


def test_both_residencies_give_the_same_bits(root):
    floats, codes = FastMNIST(root), FastMNIST(root, residency="uint8")
    assert codes.data.dtype == torch.uint8
    assert codes.data.nbytes * 4 == floats.data.nbytes
    assert same(list(codes), list(floats))
    assert same(list(codes.batches(7)), list(floats.batches(7)))
    assert same(codes[[3, 1]], floats[[3, 1]])


def test_compiled_it_gives_the_same_bits(root):
    pytest.importorskip("numba")

    class CompiledMNIST(CompiledDataset, FastMNIST):
        pass

    compiled = CompiledMNIST(root, train=False)
    assert (compiled.is_compiled, compiled.residency) == (True, "uint8")
    for (inputs, _), (expected, _) in zip(compiled.batches(5), FastMNIST(root, train=False).batches(5), strict=True):
        assert torch.equal(inputs, expected)


def test_a_residency_that_does_not_exist_or_does_not_fit_is_refused(root):
    with pytest.raises(ConfigError, match="residency: found 'unit8' .did you mean uint8"):
        FastMNIST(root, residency="unit8")
    with pytest.raises(ConfigError, match="residency"):
        FastMNIST(root, residency="uint8", transform=NORMALIZE)


def test_a_users_subclass_reads_the_folder_mnist_and_makes_none_of_its_own(root):
    class Mine(FastMNIST):
        pass

    assert same(list(Mine(root)), list(FastMNIST(root)))
    assert sorted(os.listdir(root)) == ["MNIST"]
    assert not (root / "MNIST" / "processed").exists()


def test_without_a_root_the_files_are_looked_for_as_everywhere(root, tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_ROOT", str(root))
    assert len(FastMNIST()) == len(FastMNIST(train=True)) == TRAIN
    monkeypatch.delenv("MNIST_ROOT")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataFormatError, match="data/MNIST/raw"):
        FastMNIST()


def test_the_old_pickled_files_are_not_read(root):
    for name in ("FastMNIST", "MNIST"):
        (root / name / "processed").mkdir(parents=True)
        for part in ("training.pt", "test.pt"):
            (root / name / "processed" / part).write_bytes(pickle.dumps("not to be read"))
    assert len(FastMNIST(root)) == TRAIN


@pytest.mark.parametrize(
    ("kind", "theirs", "folder"),
    [(FastFashionMNIST, datasets.FashionMNIST, "FashionMNIST"), (FastKMNIST, datasets.KMNIST, "KMNIST")],
)
def test_the_siblings_in_mnists_format_are_torchvisions(tmp_path, kind, theirs, folder):
    write(tmp_path / folder / "raw", four_files())
    for train in (True, False):
        ours, reference = kind(tmp_path, train), theirs(tmp_path, train, ToTensor())
        assert same(list(ours), list(reference))
        assert ours.classes == reference.classes
    assert sorted(os.listdir(tmp_path)) == [folder]


@pytest.mark.parametrize(("split", "first_label"), [("letters", 1), ("digits", 0)])
@pytest.mark.parametrize("train", [True, False])
def test_emnist_is_torchvisions(tmp_path, split, first_label, train):
    files = four_files(f"emnist-{split}-", ("train", "test"), first_label=first_label)
    write(tmp_path / "EMNIST" / "raw", files)
    ours = FastEMNIST(tmp_path, split, train=train)
    theirs = datasets.EMNIST(tmp_path, split, train=train, transform=ToTensor())
    assert same(list(ours), list(theirs))
    assert (ours.classes, ours.class_to_idx) == (theirs.classes, theirs.class_to_idx)
    named = load_split(f"emnist-{split}", train=train, root=tmp_path)
    assert torch.equal(torch.tensor(named.images), theirs.data)
    assert torch.equal(torch.tensor(named.labels), theirs.targets)
    assert EMNIST_SPLITS[split] == len(theirs.classes)


@pytest.fixture
def qmnist_root(tmp_path) -> Path:
    files = {}
    for part, count in (("train", 20), ("test", TRAIN)):
        files[f"qmnist-{part}-images-idx3-ubyte"] = IMAGES[:count]
        files[f"qmnist-{part}-labels-idx2-int"] = COLUMNS[:count]
    write(tmp_path / "QMNIST" / "raw", files)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [(), ("train",), ("test",), ("test10k",), ("test", False), ("train", False), (None, True, False)],
)
def test_qmnist_is_torchvisions(qmnist_root, arguments):
    ours = FastQMNIST(qmnist_root, *arguments)
    theirs = datasets.QMNIST(qmnist_root, *arguments, transform=ToTensor())
    assert same(list(ours), list(theirs))
    assert ours.extra_repr() == theirs.extra_repr()


@pytest.mark.parametrize(("train", "what"), [(True, "train"), (False, "test")])
def test_qmnist_by_name_is_the_same(qmnist_root, train, what):
    split, ours = load_split("qmnist", train=train, root=qmnist_root), FastQMNIST(qmnist_root, what, residency="uint8")
    assert torch.equal(torch.tensor(split.images), ours.data.squeeze(1))
    assert torch.equal(torch.tensor(split.labels), ours.labels)


def test_what_torchvision_downloads_is_downloaded(tmp_path, monkeypatch):
    def deliver(url, folder, md5):
        (Path(folder) / Path(url).stem).write_bytes(idx(IMAGES if "images" in url else COLUMNS))

    monkeypatch.setattr(datasets.mnist, "download_and_extract_archive", deliver)
    assert len(FastQMNIST(tmp_path, "train", download=True)) == TRAIN
    assert len(FastQMNIST(tmp_path, "train")) == TRAIN


def test_qmnists_test_split_divides_after_10000(tmp_path):
    images = np.zeros((10_003, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(10_003) % 256
    columns = np.arange(10_003 * 8).reshape(-1, 8).astype(">i4") % 10
    files = {"qmnist-test-images-idx3-ubyte": images, "qmnist-test-labels-idx2-int": columns}
    write(tmp_path / "QMNIST" / "raw", files)
    for what, count in (("test10k", 10_000), ("test50k", 3)):
        ours = FastQMNIST(tmp_path, what, residency="uint8")
        theirs = datasets.QMNIST(tmp_path, what)
        assert len(ours) == count
        assert torch.equal(ours.data.squeeze(1), theirs.data)
        assert torch.equal(ours.labels, theirs.targets[:, 0])


def without(name: str) -> Callable[[Path], None]:
    return lambda raw: (raw / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    return lambda raw: (raw / name).write_bytes((raw / name).read_bytes()[:-1])


def replaced(name: str, values: np.ndarray) -> Callable[[Path], None]:
    return lambda raw: (raw / name).write_bytes(idx(values))


DAMAGES = {
    "no images": (without("train-images-idx3-ubyte"), "train-images-idx3-ubyte"),
    "no labels": (without("train-labels-idx1-ubyte"), "train-labels-idx1-ubyte"),
    "images cut short": (cut("train-images-idx3-ubyte"), "train-images-idx3-ubyte"),
    "labels cut short": (cut("train-labels-idx1-ubyte"), "train-labels-idx1-ubyte"),
    "one label too few": (replaced("train-labels-idx1-ubyte", LABELS[:-1]), "found 29 labels, expected 30"),
    "a label of 10": (replaced("train-labels-idx1-ubyte", LABELS + np.uint8(1)), "found label 10"),
    "images of 27 rows": (replaced("train-images-idx3-ubyte", IMAGES[:, :27]), "shape"),
    "labels for images": (replaced("train-images-idx3-ubyte", LABELS), "magic number"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_refused_in_one_line_with_their_path(root, damage):
    raw = root / "MNIST" / "raw"
    harm, finding = DAMAGES[damage]
    harm(raw)
    with pytest.raises(DataFormatError) as caught:
        FastMNIST(root)
    message = str(caught.value)
    assert str(raw) in message and finding in message
    assert len(message.splitlines()) == 1


def test_files_that_are_not_the_published_ones_are_refused(tmp_path):
    write(tmp_path / "MNIST" / "raw", four_files())
    with pytest.raises(DataFormatError, match="found MD5 .* not the published file"):
        FastMNIST(tmp_path)


@pytest.mark.parametrize("kind", [FastMNIST, FastFashionMNIST, FastKMNIST, FastEMNIST, FastQMNIST])
def test_absent_files_are_named(tmp_path, kind):
    with pytest.raises(DataFormatError) as caught:
        kind(tmp_path, split="letters") if kind is FastEMNIST else kind(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_noisy_mnist_corrupts_the_data_and_leaves_the_targets_clean(root):
    clean, noisy = FastMNIST(root), NoisyMNIST(root)
    assert torch.equal(noisy.targets, clean.targets)
    assert torch.equal(noisy.labels, clean.labels)
    assert noisy.data.shape == clean.data.shape
    assert (noisy.data != clean.data).float().mean() > 0.5
    assert noisy.data.min() == 0 and noisy.data.max() == 1
    for inputs, targets in noisy.batches(7, shuffle=False):
        assert not torch.equal(inputs.flatten(1), targets)
    inputs, targets = next(noisy.batches(TRAIN, shuffle=False))
    assert torch.equal(inputs, noisy.data) and torch.equal(targets, clean.targets)


def test_noise_depends_on_its_seed_alone(root):
    torch.manual_seed(1)
    first = NoisyMNIST(root, seed=3)
    torch.manual_seed(2)
    assert torch.equal(first.data, NoisyMNIST(root, seed=3).data)
    assert not torch.equal(first.data, NoisyMNIST(root, seed=4).data)


@pytest.mark.parametrize("train", [True, False])
def test_both_splits_are_corrupted_alike_whatever_they_hold(root, train):
    """Noise is added and clipped; nothing is rescaled by the split's own extremes."""
    noisy = NoisyMNIST(root, train, corruption=Corruption("gaussian", 0.1))
    noise = (noisy.data - noisy.targets.view_as(noisy.data))[(noisy.data > 0) & (noisy.data < 1)]
    assert noise.std() == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize(("kind", "value"), [("masking", 0.0), ("patch", 0.0)])
def test_the_corruption_is_the_one_asked_for(root, kind, value):
    noisy = NoisyMNIST(root, corruption=Corruption(kind, 0.25))
    changed = noisy.data != FastMNIST(root).data
    assert changed.any()
    assert (noisy.data[changed] == value).all()


def test_noisy_mnist_refuses_bytes_because_noise_is_not_a_code(root):
    with pytest.raises(ConfigError, match="residency"):
        NoisyMNIST(root, residency="uint8")


@pytest.mark.mnist
@pytest.mark.parametrize(("train", "count"), [(True, 60_000), (False, 10_000)])
def test_every_pixel_of_the_real_mnist_is_to_tensors(mnist_root, train, count):
    ours = FastMNIST(mnist_root, train)
    theirs = datasets.MNIST(mnist_root, train)
    assert len(ours) == len(theirs) == count
    assert torch.equal(ours.labels, theirs.targets)
    to_tensor = ToTensor()
    assert all(torch.equal(to_tensor(theirs[i][0]), ours.data[i]) for i in range(count))


@pytest.mark.mnist
def test_stock_samplers_shuffle_the_real_mnist(mnist_root):
    dataset = FastMNIST(mnist_root, residency="uint8")
    sampler = BatchSampler(RandomSampler(dataset), batch_size=512, drop_last=False)
    labels = torch.cat([labels for _, labels in DataLoader(dataset, sampler=sampler, batch_size=None)])
    assert torch.equal(labels.bincount(), dataset.labels.bincount())
    assert not torch.equal(labels, dataset.labels)
