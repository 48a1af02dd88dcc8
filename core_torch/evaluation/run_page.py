"""The page of a run: what was trained, how well, and its pictures, in one file that needs nothing else."""

import base64
import html
from collections.abc import Iterable, Mapping
from pathlib import Path

from core_torch.files.atomic import write_atomically

CAPTIONS = {
    "reconstructions.png": "One test image of each class, damaged, and what the model makes of the damaged one.",
    "damages.png": "Clean, noisy, noisier and patched test images, each above what the model makes of them.",
    "losses.png": "The loss that was minimised, and the error on held-out images.",
    "latent-map.png": "The codes of test images in the plane; each is drawn as its label.",
    "filters.png": "What the first layer looks for: red raises a unit, blue lowers it.",
    "walk.png": "Straight lines between the codes of random test images, decoded step by step.",
    "convergence.png": "Noise, and the model's output fed back to it, as many times as stands below.",
    "convergence.gif": "The same, step by step.",
    "spectrum.png": "How far a small change of the input moves the code, direction by direction.",
}
MEDIA = {".png": "image/png", ".gif": "image/gif"}
CHARTS = ("losses.png", "latent-map.png", "spectrum.png")  # drawn on white, so dark mode inverts them
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: auto; padding: 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
.answer { border-left: .3rem solid #0072b2; padding: .1rem 1rem; margin: 1rem 0; background: #8881; }
.answer p { margin: .4rem 0; } .big { font-size: 1.3rem; } .dead { border-color: #d55e00; }
figure { margin: 2rem 0; } figcaption { color: #888; color: color-mix(in srgb, currentColor 70%, transparent); }
img { display: block; max-width: 100%; height: auto; margin: auto; border-radius: .4rem; background: #fff; }
table { border-collapse: collapse; font-size: .9rem; display: block; overflow-x: auto; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #8884; }
td { font-variant-numeric: tabular-nums; } th { font-weight: normal; }
code { overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { img { filter: brightness(.85); }
  img.chart { filter: invert(.93) hue-rotate(180deg); } }
"""


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
    title = f"{metrics['model']}, {metrics['objective']}, on {metrics['dataset']}"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{html.escape(title)}</title><style>{STYLE}</style><h1>{html.escape(title)}</h1>",
        _answer(metrics),
        *(_figure(picture, CAPTIONS[picture.name]) for picture in pictures),
        f"<h2>Numbers</h2>{_table(metrics)}<h2>Recipe</h2>{_table(settings)}",
        f"<h2>Command</h2><p><code>{html.escape(command)}</code></p></html>\n",
    ]
    write_atomically(path, "\n".join(parts).encode(errors="replace"))  # a name of a file need not be text


def _answer(metrics: Mapping[str, object]) -> str:
    """The error, and what it is worth."""
    said = (
        f"squared error per pixel on test images. The mean training image has {metrics['test_mse_of_mean']:.3g}, "
        f"PCA with as many components as the code has units {metrics['test_mse_of_pca']:.3g}. "
        f"{metrics['parameters']:,} parameters, trained in {metrics['seconds']:.1f} s."
    )
    dead = " dead" if metrics["dead"] else ""
    warning = "<p><b>The model is no better than a constant image: it has learnt nothing.</b></p>" if dead else ""
    heading = f"<p class=big><b>{metrics['test_mse']:.5f}</b></p>"
    return f"<div class='answer{dead}'>{heading}<p>{html.escape(said)}</p>{warning}</div>"


def _figure(picture: Path, caption: str) -> str:
    data = base64.b64encode(picture.read_bytes()).decode()
    kind = " class=chart" if picture.name in CHARTS else ""
    image = f"<img{kind} src='data:{MEDIA[picture.suffix]};base64,{data}' alt='{html.escape(caption)}'>"
    return f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _table(values: Mapping[str, object]) -> str:
    shown = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    rows = (f"<tr><th>{html.escape(name)}<td>{html.escape(value)}" for name, value in shown.items())
    return f"<table>{''.join(rows)}</table>"
