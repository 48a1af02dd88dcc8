"""PerImageDataset: torchvision's MNIST with `ToTensor`, over a split that is in memory."""

import torch
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from core_torch.files.splits import Split


class PerImageDataset(MNIST):
    """What a tutorial's DataLoader pays for every image: torchvision's own `__getitem__`, PIL and `ToTensor`.

    Only the constructor differs, which takes the images from memory instead of from files.
    """

    def __init__(self, split: Split) -> None:
        self.data, self.targets = torch.tensor(split.images), torch.tensor(split.labels)
        self.transform, self.target_transform = ToTensor(), None
