"""Every picture of a trained model, in one folder."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from core_torch.data.corruption import Corruption
from core_torch.data.resident import ResidentDataset
from core_torch.evaluation import charts, figures
from core_torch.evaluation.grids import tile
from core_torch.evaluation.jacobian import mean_singular_values
from core_torch.evaluation.probe import encode
from core_torch.evaluation.run_page import CAPTIONS
from core_torch.files.atomic import write_atomically
from core_torch.files.splits import Split
from core_torch.models.autoencoder import Autoencoder
from core_torch.spec.recipe import Recipe

DPI = 150
GIF_LEVELS = 51  # of grey above black; all 255 would double the file
GIF_ZOOM = 3  # screen pixels a pixel
FRAME_MS, FIRST_FRAME_MS, LAST_FRAME_MS = 90, 900, 2000


def write_figures(
    model: Autoencoder,
    test: Split,
    folder: Path,
    *,
    recipe: Recipe,
    history: Mapping[str, Sequence[float]],
    levels: Mapping[str, float],
    method: str = "pca",
    name: str = "this model",
    against: tuple[str, Autoencoder] | None = None,
    seed: int = 0,
) -> list[Path]:
    """Write the pictures that `CAPTIONS` names into an existing folder; the model is left as it was.

    Args:
        history: curves by name; without any, no losses are drawn.
        levels: errors per pixel to hold the curves against, by name.
        method: of the latent map, one of `PROJECTIONS`.
        name: of the model where it is held `against` another one, which has a name too.
        seed: of noise and walks.
    """
    dataset = ResidentDataset(test, device=next(model.parameters()).device)
    denoising = recipe.objective == "denoising"
    corruption = Corruption(recipe.corruption, recipe.corruption_level) if denoising else Corruption()
    contenders = dict([(name, model)] + ([against] if against else []))
    spectra = {label: mean_singular_values(each, dataset).cpu().numpy() for label, each in contenders.items()}
    frames = figures.iterate_from_noise(model, seed=seed)
    drawn = {
        "reconstructions.png": figures.plot_reconstructions(model, dataset, corruption=corruption, seed=seed),
        "corruptions.png": figures.plot_corruptions(model, dataset, seed=seed),
        "losses.png": charts.plot_losses(history, levels=levels) if history else None,
        "latent-map.png": charts.plot_latent_map(encode(model, test), test.labels, method=method, seed=seed),
        "filters.png": figures.plot_filters(model),
        "interpolation.png": figures.plot_interpolation(model, dataset, seed=seed),
        "iterated-reconstruction.png": figures.plot_iterated_reconstruction(frames),
        "spectrum.png": charts.plot_spectrum(spectra),
    }
    for file, figure in drawn.items():
        if figure is not None:
            content = BytesIO()
            figure.savefig(content, dpi=DPI, format="png")
            write_atomically(folder / file, content.getvalue())
    write_gif(frames, folder / "iterated-reconstruction.gif")
    return [folder / file for file in CAPTIONS if drawn.get(file, True) is not None]


def write_gif(frames: np.ndarray, path: Path) -> None:
    """Write frames (T, N, H, W) in [0, 1] as an endless animation, black to white, the N images four in a row."""
    pictures = []
    for step, images in enumerate(frames):
        tiles = (255 // GIF_LEVELS * np.rint(GIF_LEVELS * tile(images, columns=4))).astype(np.uint8)
        tiles = tiles.repeat(GIF_ZOOM, axis=0).repeat(GIF_ZOOM, axis=1)
        picture = Image.fromarray(np.pad(tiles, ((22, 0), (6, 0)), constant_values=255))
        ImageDraw.Draw(picture).text((8, 5), f"{step} times through the model", fill=0)
        pictures.append(picture)
    durations = [FIRST_FRAME_MS] + [FRAME_MS] * (len(pictures) - 2) + [LAST_FRAME_MS]
    content = BytesIO()
    pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    write_atomically(path, content.getvalue())
