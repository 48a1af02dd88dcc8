"""FastMNIST, its siblings, and NoisyMNIST: torchvision's datasets, resident on a device.

The constructors are torchvision's, with `device` and `residency` added; the folder layout is `root/MNIST/raw`.
What a batch holds differs: see `ResidentDataset`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torchvision import datasets
from torchvision.transforms import ToTensor
from torchvision.transforms.functional import to_pil_image

from core_torch.data.corruption import Corruption
from core_torch.data.resident import ResidentDataset
from core_torch.files.downloads import download_missing
from core_torch.files.idx import INT32, read_idx
from core_torch.files.sources import QMNIST_COLUMNS, SOURCES, locate, raw_folder
from core_torch.files.splits import load_split, read_images_and_labels
from core_torch.spec.architecture import IMAGE_SIDE
from core_torch.spec.errors import ConfigError, DataFormatError


class _ResidentFiles(ResidentDataset):
    """Stands before a torchvision dataset: reads its files strictly, transforms them once, settles on a device."""

    folder: str  # below root; torchvision would name it after the class
    published: type[Any]  # the dataset of torchvision, whose constructor sets what follows
    root: str | Path
    train: bool
    transform: Callable[[Any], Any] | None
    target_transform: Callable[[Any], Any] | None

    def __init__(
        self,
        root: str | Path | None = None,
        *arguments: Any,
        device: torch.device | str = "cpu",
        residency: str = "float32",
        **options: Any,
    ) -> None:
        root = root or raw_folder(SOURCES["mnist"], None).parents[1]
        try:
            self.published.__init__(self, root, *arguments, **options)  # finds the files and calls _load_data
        except RuntimeError as error:  # torchvision's, which names no path
            raise DataFormatError(f"{self.raw_folder}: {error}") from error
        images, labels = self.data, self.targets
        transform: Callable[[Any], Any] | None = self.transform
        target_transform: Callable[[Any], Any] | None = self.target_transform
        if transform is not None and not isinstance(transform, ToTensor):
            images = _stack([transform(to_pil_image(image)) for image in images], name="transform")
        if target_transform is not None:
            given = [label.item() if label.dim() == 0 else label for label in labels]
            labels = _stack([target_transform(label) for label in given], name="target_transform")
        self._place(images, labels, device=device, residency=residency)

    @property
    def raw_folder(self) -> str:
        """The folder of the IDX files, whatever a subclass is called."""
        return str(Path(self.root) / self.folder / "raw")

    def _check_legacy_exist(self) -> bool:
        """Say no: torchvision's old processed files are pickles."""
        return False


def _stack(values: list[Any], *, name: str) -> torch.Tensor:
    """Stack what a transform made of each image or label."""
    try:
        return torch.stack([torch.as_tensor(value) for value in values])
    except (TypeError, ValueError, RuntimeError) as error:
        found = type(values[0]).__name__
        raise ConfigError(f"{name}: found a {found}, allowed: tensors or numbers of one shape") from error


class _MnistLayout(_ResidentFiles):
    """Four files named as MNIST's; downloaded, verified and read by the contract."""

    source_name: str  # a key of SOURCES

    def _check_exists(self) -> bool:
        names = SOURCES[self.source_name].archive_md5
        missing = [name for name in names if locate(Path(self.raw_folder), name) is None]
        if missing:
            raise DataFormatError(f"{self.raw_folder}: {missing[0]} is not there; download=True fetches it")
        return True

    def download(self) -> None:
        """Fetch the files that are absent."""
        download_missing(SOURCES[self.source_name], Path(self.raw_folder), dataset=self.source_name)

    def _load_data(self) -> tuple[torch.Tensor, torch.Tensor]:
        split = load_split(self.source_name, train=self.train, root=self.root, download=False)
        return torch.tensor(split.images), torch.tensor(split.labels)


class FastMNIST(_MnistLayout, datasets.MNIST):
    """MNIST (LeCun et al. 1998): 60,000 training and 10,000 test images of digits."""

    folder, source_name = "MNIST", "mnist"
    published = datasets.MNIST


class FastFashionMNIST(_MnistLayout, datasets.FashionMNIST):
    """Fashion-MNIST (Xiao et al. 2017): ten kinds of clothing, in MNIST's format."""

    folder, source_name = "FashionMNIST", "fashion-mnist"
    published = datasets.FashionMNIST


class FastKMNIST(_MnistLayout, datasets.KMNIST):
    """Kuzushiji-MNIST (Clanuwat et al. 2018): ten cursive Japanese characters, in MNIST's format."""

    folder, source_name = "KMNIST", "kmnist"
    published = datasets.KMNIST


class FastEMNIST(_ResidentFiles, datasets.EMNIST):
    """EMNIST (Cohen et al. 2017): letters and digits; `split` as torchvision's. Images are stored transposed."""

    folder = "EMNIST"
    published = datasets.EMNIST

    def _load_data(self) -> tuple[torch.Tensor, torch.Tensor]:
        classes = len(self.classes_split_dict[self.split])
        images, labels = read_images_and_labels(Path(self.images_file), Path(self.labels_file), classes=classes)
        return torch.tensor(images), torch.tensor(labels)


class FastQMNIST(_ResidentFiles, datasets.QMNIST):
    """QMNIST (Yadav and Bottou 2019): MNIST's lost 50,000 test images restored; `what` as torchvision's."""

    folder = "QMNIST"
    published = datasets.QMNIST
    ranges = {"test10k": slice(0, 10_000), "test50k": slice(10_000, None)}

    def _load_data(self) -> tuple[torch.Tensor, torch.Tensor]:
        images = read_idx(Path(self.images_file), item_shape=(IMAGE_SIDE, IMAGE_SIDE))
        columns = read_idx(Path(self.labels_file), item_shape=(QMNIST_COLUMNS,), type_code=INT32)
        if len(images) != len(columns):
            raise DataFormatError(f"{self.labels_file}: found {len(columns):,} labels for {len(images):,} images")
        chosen = self.ranges.get(self.what, slice(None))
        labels = torch.tensor(columns[chosen].astype("int64"))
        return torch.tensor(images[chosen]), labels[:, 0] if self.compat else labels


class NoisyMNIST(FastMNIST):
    """FastMNIST whose `data` is corrupted once, by a seed, and whose `targets` are the clean pixels.

    For evaluation, where every model must see the same noise; training noise is drawn anew for every
    presentation, see `train`.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        *arguments: Any,
        corruption: Corruption | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if options.get("residency") == "uint8":
            raise ConfigError("residency: found 'uint8', allowed: float32, noise is no pixel code")
        super().__init__(root, *arguments, **options)
        corruption = corruption or Corruption()
        self.data = corruption.fixed(self.data, seed=seed)
