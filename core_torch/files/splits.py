"""Where images come from: IDX files, the embedded digits, or a generator. The same bytes everywhere."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core_torch.files.downloads import download_missing
from core_torch.files.idx import INT32, read_idx
from core_torch.files.sources import EMNIST_SPLITS, QMNIST_COLUMNS, SOURCES, locate, raw_folder, verify
from core_torch.spec.architecture import IMAGE_SIDE
from core_torch.spec.errors import ConfigError, DataFormatError, check_choice, check_integer

EMNIST = tuple(f"emnist-{split}" for split in EMNIST_SPLITS)
DATASETS = ("digits", "mnist", "fashion-mnist", "kmnist", "qmnist", *EMNIST, "synthetic")
CLASSES = 10
WHITE = 255  # the largest pixel code; pixels in [0, 1] are codes divided by it
DIGITS_FILE = Path(__file__).with_name("digits.npz")
DIGITS_SIDE = 8
DIGITS_WHITE = 16  # the largest value of an embedded digit
DIGITS_TEST_EVERY = 5  # every fifth image is a test image
SYNTHETIC_COUNTS = (60_000, 10_000)  # MNIST's
SYNTHETIC_INK = 0.19  # share of non-zero pixels, MNIST's


@dataclass(frozen=True)
class Split:
    """Images (N, 28, 28) uint8, labels (N,) int64, and the name that tables print.

    Raises:
        ConfigError: there is not one label for each image.
    """

    images: np.ndarray
    labels: np.ndarray
    name: str

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.images):
            raise ConfigError(f"labels: found {len(self.labels):,}, allowed: {len(self.images):,}, one per image")

    @property
    def image_bytes(self) -> int:
        """Bytes of one image, as uint8."""
        return math.prod(self.images.shape[1:])

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> "Split":
        """Return the images at `indices`, in that order."""
        return Split(self.images[indices], self.labels[indices], self.name)

    def at_least(self, count: int) -> "Split":
        """Return itself, or its images repeated until there are `count`; the name says so."""
        if len(self) >= count:
            return self
        indices = np.arange(count) % len(self)
        return Split(self.images[indices], self.labels[indices], f"{self.name} repeated to {count:,}")


def load_split(
    dataset: str = "digits", *, train: bool = True, root: str | Path | None = None, download: bool = True
) -> Split:
    """Load one split of a dataset.

    Args:
        dataset: one of `DATASETS`. `digits` and `synthetic` need no files; EMNIST's images are stored transposed.
        train: the training split, else the test split.
        root: folder that holds MNIST/raw and its siblings; default $MNIST_ROOT, then ./data.
        download: fetch files that are not there.

    Raises:
        ConfigError: no such dataset.
        DataFormatError: the files are absent, damaged, or not the published ones.
    """
    check_choice("dataset", dataset, DATASETS)
    if dataset == "digits":
        return _digits(train=train)
    if dataset == "synthetic":
        return synthetic(SYNTHETIC_COUNTS[not train], seed=int(not train))
    family, _, part = dataset.partition("-") if dataset in EMNIST else (dataset, "", "")
    source, names = SOURCES[family], _file_names(dataset, train=train)
    folder = raw_folder(source, root)
    if download and any(locate(folder, name) is None for name in names):
        download_missing(source, folder, dataset=dataset)
    paths = [locate(folder, name) or folder / name for name in names]
    images, labels = read_images_and_labels(*paths, classes=EMNIST_SPLITS.get(part, CLASSES))
    for path in paths:
        verify(path, source)
    return Split(images, labels, dataset)


def _file_names(dataset: str, *, train: bool) -> tuple[str, str]:
    """Return the names of the files of images and of labels."""
    if dataset not in ("qmnist", *EMNIST):
        prefix = "train" if train else "t10k"
        return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    prefix = f"{dataset}-train" if train else f"{dataset}-test"
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-{'idx2-int' if dataset == 'qmnist' else 'idx1-ubyte'}"


def read_images_and_labels(
    images_path: Path, labels_path: Path, *, classes: int = CLASSES
) -> tuple[np.ndarray, np.ndarray]:
    """Read images (N, 28, 28) uint8 and labels (N,) int64 in [0, classes) from a pair of IDX files.

    QMNIST's labels name the writer of an image too; only the class is kept.

    Raises:
        DataFormatError: either file is malformed, the counts differ, or a label is out of range.
    """
    images = read_idx(images_path, item_shape=(IMAGE_SIDE, IMAGE_SIDE))
    if "idx2" in labels_path.name:
        labels = read_idx(labels_path, item_shape=(QMNIST_COLUMNS,), type_code=INT32)[:, 0]
    else:
        labels = read_idx(labels_path, item_shape=())
    if len(images) != len(labels):
        raise DataFormatError(f"{labels_path}: found {len(labels):,} labels, expected {len(images):,}, one per image")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise DataFormatError(f"{labels_path}: found label {wrong.max()}, expected 0 to {classes - 1}")
    return images, labels.astype(np.int64)


def synthetic(count: int, *, seed: int = 0) -> Split:
    """Draw `count` images of independent random pixels, as sparse as MNIST's, for tests of size and speed."""
    check_integer("count", count, minimum=1)
    generator = np.random.default_rng(seed)
    images = generator.integers(0, WHITE + 1, (count, IMAGE_SIDE, IMAGE_SIDE), dtype=np.uint8)
    images[generator.random(images.shape, dtype=np.float32) >= SYNTHETIC_INK] = 0
    return Split(images, generator.integers(0, CLASSES, count), "synthetic")


def to_unit_range(images: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """Convert uint8 codes to [0, 1], by division: multiplying by 1/255 differs for 126 of the 256 codes."""
    values: np.ndarray = images.astype(dtype) / dtype(WHITE)
    return values


def pixel_rows(split: Split) -> np.ndarray:
    """Return the images as rows (N, pixels) float32 in [0, 1]."""
    return to_unit_range(split.images).reshape(len(split), -1)


def hold_out(count: int, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw sorted indices (kept, held out) of a random `fraction` of `count` items.

    At least one stays in each part, unless `fraction` is 0.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"fraction: found {fraction}, allowed: >= 0 and < 1")
    if fraction and count < 2:
        raise ConfigError(f"fraction: found {fraction} of {count} items, allowed: 0, none can be spared")
    order = np.random.default_rng([seed, count]).permutation(count)
    held = min(round(count * fraction) or int(fraction > 0), count - 1)
    return np.sort(order[held:]), np.sort(order[:held])


def _digits(*, train: bool) -> Split:
    """Load the 1,797 handwritten digits of the UCI optical recognition set, enlarged from 8x8 to 28x28."""
    with np.load(DIGITS_FILE, allow_pickle=False) as stored:
        small, labels = stored["images"], stored["labels"]
    is_test = np.arange(len(small)) % DIGITS_TEST_EVERY == 0
    chosen = ~is_test if train else is_test
    return Split(enlarge(small[chosen]), labels[chosen].astype(np.int64), "digits")


def enlarge(small: np.ndarray) -> np.ndarray:
    """Enlarge (N, 8, 8) values 0..16 to (N, 28, 28) uint8, bilinear with pixel centres aligned.

    Output centre i lies at (i + 1/2) 8/28 - 1/2 = (4i - 5)/14 input pixels, so all weights are
    fourteenths and the result is exact integer arithmetic, the same on every machine.
    """
    weights = np.zeros((IMAGE_SIDE, DIGITS_SIDE), dtype=np.int64)
    for row in range(IMAGE_SIDE):
        left, part = divmod(4 * row - 5, 14)
        weights[row, max(left, 0)] += 14 - part
        weights[row, min(left + 1, DIGITS_SIDE - 1)] += part
    enlarged = weights @ small.astype(np.int64) @ weights.T  # in units of 1/196 of a value
    scale = 14 * 14 * DIGITS_WHITE
    return ((enlarged * WHITE + scale // 2) // scale).astype(np.uint8)
