"""Charts as inline SVG beside HTML text: they follow the page's width and its colours, and load nothing."""

import html
import math
from collections.abc import Mapping, Sequence
from itertools import cycle

PARTS = {  # of an epoch's time, in the order drawn: {name: colour}
    "matrix products": "#0072b2",
    "the rest of a step": "#56b4e9",
    "data": "#e69f00",
    "loop around": "#999999",
    "not told apart": "#bbbbbb",
}
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")
STYLE = """
.chart { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr max-content; gap: .3rem .6rem;
  align-items: center; margin: .5rem 0; font-size: .9rem; }
.chart svg { width: 100%; height: 1.1rem; }
.chart b { font-variant-numeric: tabular-nums; text-align: right; }
.chart span { overflow-wrap: anywhere; }
.key { font-size: .85rem; } .key i { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em; }
svg text { fill: currentColor; font: 11px system-ui, sans-serif; }
"""


def ratio_chart(rows: Sequence[Mapping[str, float | str]]) -> str:
    """Of {contender, median, low, high}: a mark and its interval on a logarithmic axis, a line where the ratio is 1."""
    ends = [float(row[name]) for row in rows for name in ("low", "high")] + [1.0]
    low, high = math.log(min(ends)), math.log(max(ends))
    margin = 0.04 * (high - low) or 1.0

    def place(value: float) -> float:
        return 100 * (math.log(value) - low + margin) / (high - low + 2 * margin)

    lines = []
    for row in rows:
        left, middle, right = (place(float(row[name])) for name in ("low", "median", "high"))
        colour = "#0072b2" if float(row["low"]) > 1 else "#d55e00" if float(row["high"]) < 1 else "#888888"
        drawn = _line(place(1.0), place(1.0), 0, 10, "currentColor", 1)
        drawn += _line(left, right, 5, 5, colour, 5, opacity=0.45) + _line(middle, middle, 1, 9, colour, 4)
        lines.append(_row(str(row["contender"]), drawn, f"{row['median']:.2f}×"))
    return f"<div class=chart>{''.join(lines)}</div>"


def _line(left: float, right: float, top: float, bottom: float, colour: str, width: int, *, opacity: float = 1) -> str:
    return (
        f"<line x1='{left:.2f}' x2='{right:.2f}' y1='{top}' y2='{bottom}' stroke='{colour}' stroke-width='{width}' "
        f"stroke-opacity='{opacity}' vector-effect='non-scaling-stroke'/>"
    )


def _row(name: str, drawn: str, value: str) -> str:
    picture = f"<svg viewBox='0 0 100 10' preserveAspectRatio='none' aria-hidden=true>{drawn}</svg>"
    return f"<span>{html.escape(name)}</span>{picture}<b>{html.escape(value)}</b>"


def time_parts(microseconds: Mapping[str, float]) -> dict[str, float]:
    """{part of PARTS: microseconds an image} of a profile's `microseconds_per_image`."""
    total, step, data = (microseconds.get(name) for name in ("total", "step", "data"))
    if total is None or step is None:
        return {"not told apart": total or 0.0}
    data_part = min(data or 0.0, total)
    step = min(step, total - data_part)  # alone it can be slower than among others
    products = min(microseconds.get("gemm", 0.0), step)
    rest = "loop around" if data is not None else "not told apart"
    found = {"matrix products": products, "the rest of a step": step - products, "data": data_part}
    return found | {rest: total - step - data_part}


def parts_chart(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Of {contender: `time_parts`}: one stacked bar each, to one scale, and the key."""
    scale = max(sum(parts.values()) for parts in rows.values())
    lines, used = [], set()
    for contender, parts in rows.items():
        start, drawn = 0.0, ""
        for name, value in parts.items():
            width = 100 * value / scale
            drawn += f"<rect x='{start:.2f}' y='1' width='{width:.2f}' height='8' fill='{PARTS[name]}'/>"
            start += width
            used.add(name)
        lines.append(_row(contender, drawn, f"{sum(parts.values()):.3g} µs"))
    key = "".join(f"<i style='background:{colour}'></i>{name}" for name, colour in PARTS.items() if name in used)
    return f"<div class=chart>{''.join(lines)}</div><p class=key>{key}</p>"


def line_chart(lines: Mapping[str, Sequence[tuple[float, float]]], *, across: str, up: str) -> str:
    """Of {name: points (x, y)}, both above 0, on logarithmic axes."""
    points = [point for line in lines.values() for point in line]
    (left, right), (low, high) = ((math.log(min(values)), math.log(max(values))) for values in zip(*points))

    def at(x: float, y: float) -> tuple[float, float]:
        across_share = (math.log(x) - left) / (right - left or 1)
        up_share = (math.log(y) - low) / (high - low or 1)
        return 45 + 290 * across_share, 190 - 170 * up_share

    drawn = [f"<text x='0' y='10'>{html.escape(up)}</text>", f"<text x='150' y='225'>{html.escape(across)}</text>"]
    for x in sorted({point[0] for point in points}):
        drawn.append(f"<text x='{at(x, math.exp(low))[0]:.0f}' y='208' text-anchor='middle'>{x:g}</text>")
    for y in (math.exp(low), math.exp((low + high) / 2), math.exp(high)):
        place = at(math.exp(left), y)[1]
        drawn.append(f"<text x='0' y='{place + 4:.0f}'>{y:.3g}</text>")
        drawn.append(_line(40, 355, round(place, 1), round(place, 1), "currentColor", 1, opacity=0.2))
    key = ""
    for number, ((name, line), colour) in enumerate(zip(lines.items(), cycle(LINES))):
        dashes, note = ("6 3", " (dashed)") if number >= len(LINES) else ("none", "")
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in line))
        stroke = f"stroke='{colour}' stroke-width='2' stroke-dasharray='{dashes}'"
        drawn.append(f"<polyline points='{path}' fill='none' {stroke}/>")
        key += f"<i style='background:{colour}'></i>{html.escape(name)}{note}"
    picture = f"<svg class=lines viewBox='0 0 360 230' role=img>{''.join(drawn)}</svg>"
    return f"{picture}<p class=key>{key}</p>"
