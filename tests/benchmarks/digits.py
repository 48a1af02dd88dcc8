"""The embedded digits in the place of MNIST, for the tests of reproduced tables."""

from benchmarks.papers.table import Data
from core_torch.files.splits import load_split


class Digits(Data):
    """The embedded digits, split as MNIST is."""

    def __init__(self) -> None:
        self.root, self.device = None, "cpu"
        self.whole, self.test = load_split("digits"), load_split("digits", train=False)
