"""Images side by side, in rows that have names. Pixels are shown on the fixed scale [0, 1], black to white."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure


def squares(images: torch.Tensor, side: int) -> np.ndarray:
    """Reshape and clip images of any shape and range to (N, side, side) in [0, 1]."""
    return images.detach().reshape(len(images), -1, side, side)[:, 0].clamp(0, 1).cpu().numpy()


def tile(images: np.ndarray, columns: int, *, gap: int = 2, fill: float = 1.0) -> np.ndarray:
    """Put images (N, H, W) into one, `columns` in a row, `gap` pixels of `fill` after each."""
    padded = np.pad(images, ((0, -len(images) % columns), (0, gap), (0, gap)), constant_values=fill)
    padded[len(images) :] = fill
    rows = padded.reshape(-1, columns, *padded.shape[1:])
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)


def image_rows(
    rows: Sequence[tuple[str, torch.Tensor | np.ndarray]],
    *,
    side: int,
    title: str,
    group_size: int | None = None,
    below: tuple[str, Sequence[int]] = ("", ()),
) -> Figure:
    """Draw a labelled strip of images a row, a gap after every `group_size` rows; `below` names the columns."""
    strips: list[np.ndarray] = []
    centres = []
    for number, (_, images) in enumerate(rows):
        if group_size and number and number % group_size == 0:
            strips.append(np.ones((side // 4, strips[-1].shape[1]), dtype=np.float32))
        centres.append(sum(map(len, strips)) + side / 2)
        strips.append(tile(squares(torch.as_tensor(images), side), len(images)))
    picture = np.concatenate(strips)
    left, width, top, bottom = 1.75, 4.2, 0.4, 0.5 if below[1] else 0.05  # inches: matplotlib's own layout
    height = width * picture.shape[0] / picture.shape[1]  # cuts the names off where pixels must stay square
    across, up = left + width + 0.05, top + height + bottom
    figure = Figure(figsize=(across, up))
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title)
    axes.set_yticks(centres, [name for name, _ in rows])
    axes.set_xticks([(side + 2) * place + side / 2 for place in range(len(below[1]))], list(map(str, below[1])))
    axes.set_xlabel(below[0])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
