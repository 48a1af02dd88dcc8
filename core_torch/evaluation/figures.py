"""Pictures of a trained model, one function each, as matplotlib figures to show or to save.

Charts of numbers are in charts.py.
"""

from math import isqrt

import numpy as np
import torch
from matplotlib.figure import Figure

from core_torch.data.corruption import Corruption
from core_torch.data.resident import Batch, ResidentDataset
from core_torch.evaluation.charts import WIDTH
from core_torch.evaluation.grids import image_rows, squares, tile
from core_torch.evaluation.trajectories import interpolate_codes, iterate_reconstruction, uniform_noise
from core_torch.models.autoencoder import Autoencoder
from core_torch.models.evaluating import evaluating

IMAGES_PER_ROW = 10  # images in a row; of ten classes one each
MOST_FILTERS = 64
EVAL_IMAGES = 1000  # test images behind an error that a picture states
EXAMPLE_CORRUPTIONS = {
    "noise, σ 0.2": Corruption("gaussian", 0.2),
    "heavier noise, σ 0.5": Corruption("gaussian", 0.5),
    "black patch, 10 × 10": Corruption("patch", (10 / 28) ** 2),
}
RECONSTRUCTION_STEPS = 64
SHOWN_STEPS = (0, 1, 2, 4, 8, 16, 32, 64)


def plot_reconstructions(
    model: Autoencoder, dataset: ResidentDataset, *, corruption: Corruption | None = None, seed: int = 0
) -> Figure:
    """Draw one image of each class above its reconstruction; between them what the model saw, where that was noisy.

    Args:
        corruption: damages the images by `seed`; a dataset with noise of its own needs none.
    """
    inputs, targets = _images(dataset, _one_of_each(dataset))
    inputs = corruption.fixed(inputs, seed=seed) if corruption else inputs
    rows = [("original", targets)]
    if not torch.equal(inputs.flatten(1), targets):
        rows.append(("corrupted", inputs))
    with evaluating(model):
        rows.append(("reconstructed", model(inputs)))
    return image_rows(rows, side=inputs.shape[-1], title="Images and their reconstructions")


def plot_corruptions(model: Autoencoder, dataset: ResidentDataset, *, seed: int = 0) -> Figure:
    """Draw what the model makes of clean, noisy, noisier and patched images; errors are against the clean ones."""
    shown = _one_of_each(dataset)
    order = np.concatenate([shown, np.setdiff1d(np.arange(min(EVAL_IMAGES, len(dataset))), shown)])
    clean, targets = _images(dataset, order)
    damaged = {"clean": clean} | {name: damage.fixed(clean, seed=seed) for name, damage in EXAMPLE_CORRUPTIONS.items()}
    rows = []
    for name, images in damaged.items():
        with evaluating(model):
            output = model(images)
        error = float((output - targets).square().mean())
        rows += [(name, images[: len(shown)]), (f"restored, MSE {error:.4f}", output[: len(shown)])]
    return image_rows(rows, side=clean.shape[-1], title="What damage does", group_size=2)


def plot_filters(model: Autoencoder) -> Figure:
    """Draw the weights of the first layer's units, those of largest norm first, on one scale around zero."""
    weight = next(model.encoder.parameters()).detach().cpu()
    if weight.dim() == 2:
        side = isqrt(weight.shape[1])
        weight = weight[:, : side * side].reshape(-1, 1, side, side)
    weight = weight.mean(1)  # over channels
    chosen = weight[weight.flatten(1).norm(dim=1).argsort(descending=True)[:MOST_FILTERS]]
    limit = float(chosen.abs().flatten().quantile(0.995)) or 1.0
    columns = 8 if len(chosen) > 12 else len(chosen)
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(WIDTH, (WIDTH - 1.3) * rows / columns + 0.5), layout="constrained")
    axes = figure.add_subplot()
    tiles = tile(chosen.numpy(), columns, gap=1, fill=np.nan)
    picture = axes.imshow(tiles, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(f"First layer, the {len(chosen)} units of largest weights of {len(weight)}")
    figure.colorbar(picture, shrink=0.7, label="weight")
    return figure


def plot_interpolation(model: Autoencoder, dataset: ResidentDataset, *, legs: int = 6, seed: int = 0) -> Figure:
    """Draw straight lines between the codes of randomly chosen images, decoded step by step."""
    stops = np.random.default_rng(seed).choice(len(dataset), legs + 1, replace=len(dataset) <= legs)
    images, _ = _images(dataset, stops)
    names = _classes(dataset)[stops]
    lines = interpolate_codes(model, images, steps=IMAGES_PER_ROW)
    rows = [(f"{here} to {there}", line) for here, there, line in zip(names, names[1:], lines)]
    return image_rows(rows, side=images.shape[-1], title="Walk between the codes of test images")


def iterate_from_noise(model: Autoencoder, *, count: int = 8, seed: int = 0) -> np.ndarray:
    """Feed the output back `RECONSTRUCTION_STEPS` times, from uniform noise on: (steps + 1, count, side, side)."""
    parameter = next(model.parameters())
    pixels = int(np.prod(model.architecture.input_shape))
    start = uniform_noise(count, pixels, seed=seed).to(parameter)
    frames = iterate_reconstruction(model, start, steps=RECONSTRUCTION_STEPS)
    return squares(frames.flatten(0, 1), isqrt(pixels)).reshape(len(frames), count, isqrt(pixels), -1)


def plot_iterated_reconstruction(frames: np.ndarray) -> Figure:
    """Draw the frames of `iterate_from_noise` after 0, 1, 2, 4, ... steps, one start a row."""
    steps = [step for step in SHOWN_STEPS if step < len(frames)]
    rows = [(f"start {number + 1}", frames[steps, number]) for number in range(frames.shape[1])]
    title = "From noise, the output fed back as input"
    return image_rows(rows, side=frames.shape[-1], title=title, below=("times through the model", steps))


def _images(dataset: ResidentDataset, indices: np.ndarray) -> Batch:
    """Gather inputs (N, 1, H, W) and targets (N, pixels) on the device, also of a split that is streamed."""
    return dataset.gather(torch.from_numpy(indices).to(dataset.device))


def _one_of_each(dataset: ResidentDataset) -> np.ndarray:
    """Find the first image of each class, filled up to `IMAGES_PER_ROW` with the first others."""
    first = np.unique(_classes(dataset), return_index=True)[1]
    others = np.setdiff1d(np.arange(min(len(dataset), 2 * IMAGES_PER_ROW)), first)
    return np.concatenate([first, others])[:IMAGES_PER_ROW]


def _classes(dataset: ResidentDataset) -> np.ndarray:
    """Return the classes (N,), also where a label has more columns than its class."""
    return dataset.labels.reshape(len(dataset), -1)[:, 0].cpu().numpy()
