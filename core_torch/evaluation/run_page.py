"""The page of a run: what was trained, how well, and its pictures, in one file that needs nothing else."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from core_torch.files.page import TEMPLATES, embed_picture, write_page

CAPTIONS = {
    "reconstructions.png": "One test image of each class, damaged, and what the model makes of the damaged one.",
    "corruptions.png": "Clean, noisy, noisier and patched test images, each above what the model makes of them.",
    "losses.png": "The loss that was minimised, and the error on held-out images.",
    "latent-map.png": "The codes of test images in the plane; each is drawn as its label.",
    "filters.png": "What the first layer looks for: red raises a unit, blue lowers it.",
    "interpolation.png": "Straight lines between the codes of random test images, decoded step by step.",
    "iterated-reconstruction.png": "Noise, and the model's output fed back to it, as many times as stands below.",
    "iterated-reconstruction.gif": "The same, step by step.",
    "spectrum.png": "How far a small change of the input moves the code, direction by direction.",
}
CHARTS = ("losses.png", "latent-map.png", "spectrum.png")  # drawn on white, so dark mode inverts them


def write_run_page(
    path: Path,
    *,
    metrics: Mapping[str, object],
    settings: Mapping[str, object],
    pictures: Iterable[Path],
    command: str,
) -> None:
    """Write the page.

    Args:
        metrics: what `metrics.json` holds, without the history.
        settings: the resolved recipe.
        pictures: files to put into the page, in order; `CAPTIONS` has their names.
        command: that made the run.
    """
    write_page(
        path,
        TEMPLATES / "run.html",
        title=f"{metrics['model']}, {metrics['objective']}, on {metrics['dataset']}",
        metrics=metrics,
        numbers=[(name, f"{value:.6g}" if isinstance(value, float) else value) for name, value in metrics.items()],
        settings=list(settings.items()),
        pictures=[
            {
                "source": embed_picture(picture.read_bytes(), picture.suffix),
                "caption": CAPTIONS[picture.name],
                "is_chart": picture.name in CHARTS,
            }
            for picture in pictures
        ],
        command=command,
    )
