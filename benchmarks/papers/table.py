"""A published table as data: where it stands, what was claimed, what to run, what should come out."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import sha256
from importlib import import_module
from itertools import combinations
from pathlib import Path

from benchmarks.papers import TABLES
from benchmarks.papers.equivalence import Equivalence
from core_torch.files.splits import Split, hold_out, load_split

ERROR = "error %"  # of test images that are misread
COUNT = "of"  # the format of a metric that is 0 or 1: in how many runs it is 1
ADDRESS = r" at 0x[0-9a-f]+"  # of a function, in its repr
TEST_IMAGES = 10_000  # of MNIST
VALIDATION = 5_000 / 60_000  # of the training images: what settings are chosen on

Metrics = Mapping[str, float]


class Data:
    """MNIST as the tables use it, read once: `train` is a part of `whole`."""

    def __init__(self, root: str | Path | None = None, *, device: str = "cpu") -> None:
        self.root, self.device = root, device
        self.whole = load_split("mnist", root=root)
        self.test = load_split("mnist", train=False, root=root)

    @cached_property
    def train(self) -> Split:
        """What is trained on; choices were made on the images left out."""
        kept, _ = hold_out(len(self.whole), fraction=VALIDATION, seed=0)
        return self.whole.take(kept)


@dataclass(frozen=True)
class Goal:
    """A figure to reach."""

    bound: float
    at_least: bool = False  # else at most
    within: float | None = None  # so near the bound, on either side

    def met(self, value: float) -> bool:
        """Whether a value is on the right side."""
        if self.within is not None:
            return abs(value - self.bound) <= self.within
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table: one protocol, run once for each seed.

    Args:
        run: called as `run(data, seed)`; {metric: value}. Nothing is chosen on the test images. Its settings are the
            keywords of a `partial`, or `constants`.
        published: {metric: value} as the source prints it.
        goals: {metric: what is to be reached}, of the mean over seeds.
        quick: whether it is run by default, with seed 0 alone.
        gpu: whether it takes hours without one: then it is run there alone.
        seeds: how many a full run takes.
        why: a sentence on the distance between `published` and what comes out.
        constants: what `run` takes from its module besides its keywords.
    """

    name: str
    run: Callable[[Data, int], Metrics]
    published: Metrics = field(default_factory=dict)
    goals: Mapping[str, Goal] = field(default_factory=dict)
    quick: bool = True
    gpu: bool = False
    seeds: int = 3
    why: str = ""
    constants: tuple[object, ...] = ()

    @property
    def settings(self) -> str:
        """Names `run` and what it is called with: twelve hexadecimal digits, others once a setting has changed."""
        function = self.run.func if isinstance(self.run, partial) else self.run
        given = self.run.keywords if isinstance(self.run, partial) else {}
        told = repr((function.__qualname__, sorted(given.items()), self.constants, VALIDATION))
        return sha256(re.sub(ADDRESS, "", told).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Ordering:
    """A claim about rows: that `metric` falls from each of them to those after it, by a `factor` or more."""

    metric: str
    rows: tuple[str, ...]
    factor: float = 1.0
    why: str = ""  # it may not hold here

    def broken(self, values: Mapping[str, float]) -> list[tuple[str, str]]:
        """The pairs, neighbours or not, between which {row: value of the metric} does not fall so."""
        pairs = combinations(self.rows, 2)
        return [(before, after) for before, after in pairs if not values[before] > self.factor * values[after]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a paper, or of the original repository.

    Args:
        source: authors, title, venue, year, and which table.
        protocol: how the rows here are made, and where that differs from the source.
        metrics: {name: format of its values}, in the order of the columns.
    """

    title: str
    source: str
    protocol: str
    metrics: Mapping[str, str]
    rows: tuple[Row, ...]
    orderings: tuple[Ordering, ...] = ()
    equivalences: tuple[Equivalence, ...] = ()

    def row(self, name: str) -> Row:
        """The row of that name; `KeyError` if there is none."""
        return {row.name: row for row in self.rows}[name]


def table_named(name: str) -> Table:
    """One of `TABLES`."""
    table: Table = import_module(f"benchmarks.papers.{TABLES[name]}").TABLE
    return table
