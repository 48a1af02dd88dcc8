"""Pictures of a model: right pixels, on a fixed scale, labelled, and the model is left as it was."""

import io
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image

import core_torch
from core_torch.data.corruption import Corruption
from core_torch.data.resident import ResidentDataset
from core_torch.data.streaming import StreamedDataset
from core_torch.evaluation import charts, figures
from core_torch.evaluation.figure_files import write_figures, write_gif
from core_torch.evaluation.projection import project
from core_torch.evaluation.run_page import CAPTIONS
from core_torch.evaluation.trajectories import interpolate_codes, iterate_reconstruction, uniform_noise
from core_torch.files.page import TEMPLATES
from core_torch.files.splits import Split, load_split
from core_torch.models.autoencoder import build_autoencoder
from core_torch.models.evaluating import evaluating
from core_torch.spec.architecture import ARCHITECTURES, PIXELS, FullyConnected
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import Recipe


@pytest.fixture(scope="module")
def test_split() -> Split:
    return load_split(train=False).take(np.arange(20))


@pytest.fixture(scope="module")
def digits() -> ResidentDataset:
    return ResidentDataset(load_split(train=False))


def small(**options):
    return build_autoencoder(FullyConnected(widths=(PIXELS, 30, 6), **options))


def state(model) -> tuple[list[bool], dict[str, torch.Tensor]]:
    return [module.training for module in model.modules()], deepcopy(model.state_dict())


def unchanged(model, before) -> bool:
    modes, weights = state(model)
    gradients = [parameter.grad for parameter in model.parameters()]
    same = all(torch.equal(weights[name], value) for name, value in before[1].items())
    return modes == before[0] and same and gradients == [None] * len(gradients)


def test_a_model_is_left_as_it_was(test_split, tmp_path):
    model = small().train()
    model.decoder.eval()  # frozen by its user
    before = state(model)
    write_figures(model, test_split, tmp_path, recipe=Recipe(), history={}, levels={})
    assert unchanged(model, before)
    model.eval()
    assert not unchanged(model, before)
    with pytest.raises(ZeroDivisionError), evaluating(model.train()):
        assert not model.training
        raise ZeroDivisionError
    assert model.training


@pytest.mark.parametrize("name", ["shallow", "randomized-deep", "conv-deep"])
def test_the_album_is_complete_and_every_picture_can_be_read(test_split, tmp_path, name):
    model = build_autoencoder(ARCHITECTURES[name])
    given = {"recipe": Recipe(objective="denoising", corruption="patch"), "levels": {"mean image": 0.1}}
    history = {"training loss": [0.2, 0.1], "validation error": [0.3, 0.2]}
    paths = write_figures(model, test_split, tmp_path, history=history, against=("other", small()), **given)
    assert [path.name for path in paths] == list(CAPTIONS)
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 50
    without = write_figures(model, test_split, tmp_path, history={}, **given)
    assert [path.name for path in without] == [name for name in CAPTIONS if name != "losses.png"]


def test_images_are_shown_on_the_fixed_scale(digits):
    model = small(output_activation="linear")
    drawn = [
        figures.plot_reconstructions(model, digits),
        figures.plot_corruptions(model, digits),
        figures.plot_interpolation(model, digits),
        figures.plot_iterated_reconstruction(figures.iterate_from_noise(model)),
    ]
    for figure in drawn:
        (picture,) = figure.axes[0].images
        assert (picture.norm.vmin, picture.norm.vmax) == (0, 1)
        assert picture.get_array().min() >= 0
        assert picture.get_array().max() <= 1
        assert figure.axes[0].get_title()


def test_the_rows_hold_the_images_they_name(digits):
    model = small()
    figure = figures.plot_reconstructions(model, digits, corruption=Corruption("masking", 0.5), seed=3)
    picture = np.asarray(figure.axes[0].images[0].get_array())
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["original", "corrupted", "reconstructed"]
    classes = digits.labels.numpy()
    for place in range(10):
        columns = slice(30 * place, 30 * place + 28)
        image = digits.data[int(np.flatnonzero(classes == place)[0]), 0].numpy()
        assert np.array_equal(picture[:28, columns], image)
        assert np.count_nonzero(picture[30:58, columns] != image) > 50
        with torch.no_grad():
            expected = model(torch.from_numpy(picture[30:58, columns].copy())[None]).reshape(28, 28)
        assert np.allclose(picture[60:88, columns], expected, atol=1e-6)


def test_a_clean_dataset_has_no_corrupted_row(digits):
    labels = core_torch.plot_reconstructions(small(), digits).axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["original", "reconstructed"]


PLOTS = (figures.plot_reconstructions, figures.plot_corruptions, figures.plot_interpolation)


def drawn_by(plot, model, dataset) -> np.ndarray:
    return np.asarray(plot(model, dataset).axes[0].images[0].get_array())


@pytest.mark.parametrize("plot", PLOTS)
def test_bytes_and_streams_are_drawn_as_what_is_resident(digits, plot):
    model, split = small(), load_split(train=False)
    expected = drawn_by(plot, model, digits)
    for dataset in (ResidentDataset(split, residency="uint8"), StreamedDataset(split)):
        assert np.allclose(drawn_by(plot, model, dataset), expected, atol=1e-6)
    turned = digits.subset(np.arange(len(digits))[::-1].copy())
    assert not np.allclose(drawn_by(plot, model, turned), expected, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("plot", PLOTS)
def test_a_stream_to_an_accelerator_is_drawn(plot):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    assert drawn_by(plot, small().cuda(), StreamedDataset(load_split(train=False), device="cuda")).max() > 0.5


def test_the_output_is_fed_back_as_input():
    model = small(output_activation="linear")
    start = uniform_noise(3, PIXELS, seed=1)
    frames = iterate_reconstruction(model, start, steps=4)
    expected = start
    for frame in frames[1:]:
        with torch.no_grad():
            expected = model(expected).clamp(0, 1)
        assert torch.equal(frame, expected)
    assert torch.equal(frames[0], start)
    assert not torch.equal(frames[1], frames[2])
    assert not torch.equal(start, uniform_noise(3, PIXELS, seed=2))


def test_a_walk_starts_and_ends_at_reconstructions(digits):
    model, images = small(), digits.data[:3]
    lines = interpolate_codes(model, images, steps=5)
    with torch.no_grad():
        ends, middle = model(images), model.decode(model.encode(images)[:2].mean(0))
    assert lines.shape == (2, 5, PIXELS)
    assert torch.allclose(lines[:, 0], ends[:-1], atol=1e-6)
    assert torch.allclose(lines[:, -1], ends[1:], atol=1e-6)
    assert torch.allclose(lines[0, 2], middle, atol=1e-6)
    assert not torch.allclose(lines[0, 1], middle, atol=1e-6)


@pytest.mark.parametrize("call", [
    lambda model: iterate_reconstruction(model, uniform_noise(1, PIXELS, seed=0), steps=0),
    lambda model: interpolate_codes(model, uniform_noise(1, PIXELS, seed=0), steps=5),
    lambda model: interpolate_codes(model, uniform_noise(2, PIXELS, seed=0), steps=1),
    lambda model: project(np.zeros((9, 3)), method="umap"),
    lambda model: project(np.zeros((30, 3)), method="tsne"),
])  # fmt: skip
def test_what_cannot_be_walked_or_mapped_is_refused(call):
    with pytest.raises(ConfigError):
        call(small())


def test_the_animation_shows_every_frame(tmp_path):
    frames = np.linspace(0, 1, 5)[:, None, None, None] * np.ones((1, 4, 28, 28))
    write_gif(frames, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 5
        assert animation.info["loop"] == 0
        shades = []
        for frame in range(5):
            animation.seek(frame)
            shades.append(animation.convert("L").getpixel((50, 60)))
    assert np.allclose(shades, [0, 64, 128, 191, 255], atol=3)


def test_the_map_by_pca_keeps_the_most_variance():
    generator = np.random.default_rng(0)
    codes = generator.normal(size=(200, 5)) * [9, 1, 5, 0.1, 0.1]
    points, names = project(codes)
    assert abs(np.corrcoef(points[:, 0], codes[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(points[:, 1], codes[:, 2])[0, 1]) > 0.99
    share = points[:, 0].var() / codes.var(axis=0).sum()
    assert f"{share:.0%}" in names[0]
    narrow, _ = project(codes[:, :1])
    assert np.allclose(np.abs(narrow[:, 0]), np.abs(codes[:, 0] - codes[:, 0].mean()))
    assert np.allclose(narrow[:, 1], 0)


def test_the_map_by_tsne_keeps_clusters_apart():
    codes = np.random.default_rng(0).normal(size=(60, 4)) * 0.1
    codes[30:] += 50
    points, _ = project(codes, method="tsne")
    centres = points[:30].mean(0), points[30:].mean(0)
    spread = max(points[:30].std(), points[30:].std())
    assert np.linalg.norm(centres[0] - centres[1]) > spread


def test_a_level_far_below_the_curve_is_left_out():
    history = {"training loss": [0.1, 0.05]}
    figure = charts.plot_losses(history, levels={"near": 0.02, "far": 1e-7})
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["training loss", "near, 0.02"]


def contrast(colour: np.ndarray, ground: np.ndarray) -> float:
    """Of two colours (3,) in [0, 1], as WCAG 2 defines it."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (colour, ground)]
    low, high = sorted(float(each @ [0.2126, 0.7152, 0.0722]) for each in linear)
    return (high + 0.05) / (low + 0.05)


def in_the_dark(colour: np.ndarray) -> np.ndarray:
    """invert(.93) hue-rotate(180deg), as the W3C's Filter Effects define them."""
    turned = np.outer(np.ones(3), [0.426, 1.43, 0.144]) - np.eye(3)
    return np.clip(turned @ (0.93 - 0.86 * colour), 0, 1)


def test_every_class_of_the_map_can_be_read_in_the_light_and_in_the_dark():
    assert "img.chart { filter: invert(.93) hue-rotate(180deg); }" in (TEMPLATES / "page.html").read_text()
    white = np.ones(3)

    def least(code: str) -> float:
        colour = np.array([int(code[place : place + 2], 16) / 255 for place in (1, 3, 5)])
        return min(contrast(colour, white), contrast(in_the_dark(colour), in_the_dark(white)))

    assert len(charts.CLASSES) == 10
    assert min(map(least, charts.CLASSES)) >= 4.5
    assert least("#ddaa33") < 2.2


def test_filters_are_the_first_layers_largest_weights():
    model = small()
    with torch.no_grad():
        model.encoder[0].weight[7] *= 10
    figure = figures.plot_filters(model)
    picture = np.asarray(figure.axes[0].images[0].get_array())
    assert np.allclose(picture[:28, :28], model.encoder[0].weight[7].detach().reshape(28, 28))
    norm = figure.axes[0].images[0].norm
    assert norm.vmin == -norm.vmax


def test_both_spectra_share_their_axes():
    figure = charts.plot_spectrum({"a": np.array([4.0, 1.0]), "b": np.array([8.0, 4.0, 0.0])})
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["a", "b"]
    assert np.array_equal(left.lines[1].get_ydata(), [8, 4, 0])
    assert np.array_equal(right.lines[1].get_ydata(), [1, 0.5, 0])
    content = io.BytesIO()
    figure.savefig(content)
    assert content.getvalue().startswith(b"\x89PNG")
