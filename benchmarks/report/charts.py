"""Charts of a run: ratios with their intervals, the parts of an image's time, and time by size."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {  # of an epoch's time, in the order drawn: {name: colour}
    "matrix products": "#0072b2",
    "the rest of a step": "#56b4e9",
    "data": "#e69f00",
    "loop around": "#999999",
    "not told apart": "#bbbbbb",
}
FASTER, SLOWER, UNDECIDED = "#0072b2", "#d55e00", "#888888"
ROW_HEIGHT, FRAME_HEIGHT = 0.3, 1.1  # inches, of a contender and of what stands around all of them


def draw_ratios(rows: Sequence[Mapping[str, Any]], *, title: str, across: str) -> "Figure":
    """Draw {contender, median, low, high}: a mark and its interval on a logarithmic axis, a line at 1."""
    from core_torch.evaluation.charts import new_axes, write_plain_numbers

    figure, axes = new_axes(title, across, "", height=FRAME_HEIGHT + ROW_HEIGHT * len(rows))
    axes.axvline(1, color="black", linewidth=1)
    for place, row in enumerate(reversed(rows)):
        colour = FASTER if row["low"] > 1 else SLOWER if row["high"] < 1 else UNDECIDED
        axes.hlines(place, row["low"], row["high"], color=colour, linewidth=5, alpha=0.45)
        axes.plot([row["median"]], [place], marker="|", markersize=12, markeredgewidth=3, color=colour)
        axes.text(1.02, place, f"{row['median']:.2f}×", transform=axes.get_yaxis_transform(), va="center")
    _name_rows(axes, [row["contender"] for row in rows])
    axes.set_xscale("log")
    write_plain_numbers(axes.xaxis)
    return figure


def draw_parts(rows: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Draw {contender: `split_time`}: a stacked bar each, to one scale."""
    from core_torch.evaluation.charts import new_axes

    figure, axes = new_axes("", "µs per image", "", height=FRAME_HEIGHT + ROW_HEIGHT * len(rows))
    labelled: set[str] = set()
    for place, parts in enumerate(reversed(list(rows.values()))):
        start = 0.0
        for name, width in parts.items():
            axes.barh(place, width, left=start, color=PARTS[name], label="" if name in labelled else name)
            start += width
            labelled.add(name)
    _name_rows(axes, list(rows))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_lines(lines: Mapping[str, Sequence[tuple[float, float]]], *, across: str, up: str) -> "Figure":
    """Draw {name: points (x, y)}, both above 0, on logarithmic axes."""
    from core_torch.evaluation.charts import LINES, new_axes

    figure, axes = new_axes("", across, up, height=4.5)
    dashes = ["-"] * len(LINES) + ["--"] * len(LINES)
    for (name, points), colour, style in zip(lines.items(), cycle(LINES), cycle(dashes)):
        axes.plot(*zip(*points), label=plain(name), color=colour, linestyle=style, marker="o", markersize=3)
    sizes = sorted({x for points in lines.values() for x, _ in points})
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:,g}" for size in sizes])
    axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def split_time(microseconds: Mapping[str, float]) -> dict[str, float]:
    """Split a profile's `microseconds_per_image` into {part of PARTS: microseconds an image}."""
    total, step, data = (microseconds.get(name) for name in ("total", "step", "data"))
    if total is None or step is None:
        return {"not told apart": total or 0.0}
    data_part = min(data or 0.0, total)
    step = min(step, total - data_part)  # alone it can be slower than among others
    products = min(microseconds.get("gemm", 0.0), step)
    rest = "loop around" if data is not None else "not told apart"
    parts = {"matrix products": products, "the rest of a step": step - products, "data": data_part}
    return parts | {rest: total - step - data_part}


def plain(text: str) -> str:
    """Keep matplotlib from reading what stands between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [plain(name) for name in reversed(names)])
    axes.set_ylim(-0.6, len(names) - 0.4)
