"""Charts of a trained model's numbers, as matplotlib figures to show or to save.

Colours are those of Okabe and Ito and, for ten classes, ten as far apart as can be, also for colour-blind readers,
that white and the dark page's inverted white are both in contrast to by 4.5 (WCAG 2, AA).
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from core_torch.evaluation.projection import project

LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
CLASSES = "#2800f2 #00008c #2e3700 #0071e1 #9d479d #260000 #003c48 #9d6666 #000c48 #ae5700".split()
WIDTH = 6.0  # inches; narrow, so that words stay readable on a phone
MOST_POINTS = 2000  # of a map; more hide each other


def plot_losses(history: Mapping[str, Sequence[float]], *, levels: Mapping[str, float] | None = None) -> Figure:
    """Plot curves by epoch on a logarithmic axis, and dashed `levels` to hold them against, unless far below."""
    lowest = min(min(values) for values in history.values())
    figure, axes = new_axes("Loss by epoch", "epoch", "squared error per pixel")
    for (name, values), colour in zip(history.items(), cycle(LINES)):
        marker = "o" if len(values) < 30 else None
        axes.plot(range(1, len(values) + 1), values, label=name, color=colour, marker=marker, markersize=4)
    near = {name: value for name, value in (levels or {}).items() if value > lowest / 10}
    for (name, value), dashes in zip(near.items(), cycle(("--", ":", "-."))):
        axes.axhline(value, label=f"{name}, {value:.2g}", color="#555555", linestyle=dashes, linewidth=1)
    axes.set_yscale("log")
    write_plain_numbers(axes.yaxis)
    axes.set_xlim(0.5, max(map(len, history.values())) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def plot_latent_map(
    codes: np.ndarray, labels: np.ndarray, *, method: str = "pca", seed: int = 0, title: str = "Codes of test images"
) -> Figure:
    """Plot each code (N, width) as its label in the plane; at most `MOST_POINTS`, the first."""
    points, (across, up) = project(codes[:MOST_POINTS], method=method, seed=seed)
    figure, axes = new_axes(f"{title} ({len(points)} of {len(codes)})", across, up, height=5.5)
    for label, colour in zip(np.unique(labels), cycle(CLASSES)):
        chosen = points[labels[:MOST_POINTS] == label]
        axes.scatter(chosen[:, 0], chosen[:, 1], s=32, marker=f"${label}$", color=colour, linewidths=0.2)
    return figure


def plot_spectrum(spectra: Mapping[str, np.ndarray]) -> Figure:
    """Plot singular values of the encoder's Jacobian by rank, as they are and relative to each model's largest."""
    figure = Figure(figsize=(WIDTH, 3), layout="constrained")
    figure.suptitle("Singular values of the encoder's Jacobian, mean over images")
    for axes, up in zip(figure.subplots(1, 2), ("singular value", "relative to the largest")):
        for (name, values), colour, dashes in zip(spectra.items(), cycle(LINES), cycle(("-", "--"))):
            scale = 1 if up == "singular value" else values[0] or 1
            ranks = range(1, len(values) + 1)
            axes.plot(ranks, values / scale, label=name, color=colour, linestyle=dashes)
        tidy_axes(axes, across="rank", up=up)
        axes.set_ylim(bottom=0)
    if len(spectra) > 1:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", frameon=False)
    return figure


def new_axes(title: str, across: str, up: str, *, height: float = 3.5) -> tuple[Figure, Axes]:
    """Make a figure as wide as a page's column, `height` inches high, with one pair of named axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot(title=title)
    tidy_axes(axes, across=across, up=up)
    return figure, axes


def write_plain_numbers(axis: Axis) -> None:
    """Write 1, 2, 5, 10, ... beside a logarithmic axis."""
    axis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter=NullFormatter())


def tidy_axes(axes: Axes, *, across: str, up: str) -> None:
    """Name the axes, draw a faint grid and remove the frame's upper and right side."""
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(color="#88888844")
    axes.spines[["top", "right"]].set_visible(False)
