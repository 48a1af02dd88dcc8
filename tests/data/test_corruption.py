"""Corruption damages what it says, afresh at every presentation, and for evaluation always alike."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from core_torch.data.corruption import Corruption
from core_torch.data.resident import ResidentDataset
from core_torch.evaluation.report import noisy_mean_squared_error
from core_torch.files.splits import Split, load_split
from core_torch.models.autoencoder import build_autoencoder
from core_torch.spec.architecture import ARCHITECTURES
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import CORRUPTIONS, Recipe
from core_torch.training.loop import train

PIXELS = 784


def grey(count: int, value: float = 0.5) -> torch.Tensor:
    return torch.full((count, 1, 28, 28), value)


def corrupt(kind: str, level: float, images: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
    return Corruption(kind, level)(images, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("level", [0, 0.1, 0.25, 0.333, 1])
def test_masking_zeroes_exactly_the_fraction_asked(level):
    noisy = corrupt("masking", level, grey(50)).flatten(1)
    assert set((noisy == 0).sum(1).tolist()) == {round(level * PIXELS)}
    assert set(noisy.unique().tolist()) <= {0.0, 0.5}


def test_masking_hits_every_pixel_equally_often():
    count, level = 4000, 0.25
    hits = (corrupt("masking", level, grey(count)) == 0).float().mean(0).flatten()
    standard_error = (level * (1 - level) / count) ** 0.5
    assert (hits - level).abs().max() < 5 * standard_error


@pytest.mark.parametrize("level", [0, 0.1, 0.5, 1])
def test_salt_and_pepper_leaves_only_black_and_white_where_it_hits(level):
    noisy = corrupt("salt-and-pepper", level, grey(50)).flatten(1)
    changed = noisy != 0.5
    count = round(level * PIXELS)
    assert set(changed.sum(1).tolist()) == {count}
    assert set(noisy[changed].tolist()) <= {0.0, 1.0}
    if count:
        assert abs(float(noisy[changed].mean()) - 0.5) < 4 * 0.5 / (50 * count) ** 0.5  # a fair coin


def test_gaussian_noise_has_the_deviation_asked():
    level, images = 0.05, grey(500)  # ten deviations from either end: nothing is clipped
    noise = corrupt("gaussian", level, images) - images
    assert abs(float(noise.mean())) < 4 * level / noise.numel() ** 0.5
    assert abs(float(noise.std()) - level) < 4 * level / (2 * noise.numel()) ** 0.5
    beyond = float((noise.abs() > 3 * level).float().mean())
    assert 0.0025 < beyond < 0.0029  # 0.0027 of a normal distribution


def test_gaussian_noise_is_clipped_and_not_rescaled():
    noisy = corrupt("gaussian", 0.5, grey(100))
    assert (float(noisy.min()), float(noisy.max())) == (0, 1)
    assert float((noisy == 1).float().mean()) == pytest.approx(0.1587, abs=0.005)  # beyond one deviation
    assert corrupt("gaussian", 0.1, grey(100, 0.0)).median() == 0  # black stays black in half the pixels


@pytest.mark.parametrize(("level", "side"), [(0, 0), (0.1, 9), (0.25, 14), (1, 28)])
def test_a_patch_is_a_black_square(level, side):
    black = corrupt("patch", level, grey(200))[:, 0] == 0
    rows, columns = black.any(2), black.any(1)
    assert torch.equal(black, rows[:, :, None] & columns[:, None, :])
    for hit in (rows, columns):
        assert set(hit.sum(1).tolist()) == {side}
        places = [row.nonzero().flatten().tolist() for row in hit]
        assert all(place == list(range(place[0], place[-1] + 1)) for place in places if place)


def test_a_patch_may_lie_anywhere_off_the_diagonal_too():
    black = corrupt("patch", 0.25, grey(10_000))[:, 0] == 0
    starts = [hit.float().argmax(1) for hit in (black.any(2), black.any(1))]
    cells = torch.bincount(starts[0] * 15 + starts[1], minlength=15 * 15)
    assert len(cells) == 15 * 15
    assert cells.min() > 0
    expected = 10_000 / 15**2
    chi_squared = float(((cells - expected) ** 2 / expected).sum())  # of 224 degrees of freedom
    assert abs(chi_squared - 224) < 5 * (2 * 224) ** 0.5


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_seed_stands_for_its_noise(kind):
    images = grey(20)
    first = corrupt(kind, 0.2, images, seed=1)
    assert torch.equal(first, corrupt(kind, 0.2, images, seed=1))
    assert not torch.equal(first, corrupt(kind, 0.2, images, seed=2))
    assert not torch.equal(first[0], first[1])
    assert torch.equal(images, grey(20))  # a copy was damaged
    assert (first.shape, first.dtype) == (images.shape, images.dtype)
    assert corrupt(kind, 0.2, images.double()).dtype == torch.float64


def inputs_of_epochs(kind: str, *, seed: int) -> list[torch.Tensor]:
    """What a model is fed in two epochs over eight equal grey images, so that their order does not matter."""
    split = Split(np.full((8, 28, 28), 128, np.uint8), np.zeros(8, np.int64), "grey")
    recipe = Recipe(objective="denoising", corruption=kind, epochs=2, batch_size=8, validation_fraction=0, seed=seed)
    model = build_autoencoder(ARCHITECTURES["shallow"])
    seen: list[torch.Tensor] = []
    model.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].clone()))
    train(model, ResidentDataset(split), recipe=recipe, progress=False)
    return seen


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_two_epochs_see_different_noise_and_a_seed_brings_it_back(kind):
    first, second = inputs_of_epochs(kind, seed=1)
    assert not torch.equal(first, second)
    again = inputs_of_epochs(kind, seed=1)
    assert torch.equal(again[0], first)
    assert torch.equal(again[1], second)
    assert not torch.equal(inputs_of_epochs(kind, seed=2)[0], first)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_evaluation_noise_is_fixed_whatever_was_drawn_before(kind):
    corruption = Corruption(kind, 0.2)
    train_images, test_images = grey(6), grey(4, 0.25)
    before = corruption.fixed(train_images, seed=0), corruption.fixed(test_images, seed=0)
    torch.manual_seed(7)
    torch.rand(3)
    after = corruption.fixed(test_images, seed=0), corruption.fixed(train_images, seed=0)
    assert torch.equal(before[0], after[1])
    assert torch.equal(before[1], after[0])


def test_every_model_is_evaluated_on_the_same_corrupted_images():
    dataset = ResidentDataset(load_split(train=False))
    clean, seen = dataset.data.clone(), []
    for name, seed in (("shallow", 1), ("deep", 2)):
        model = build_autoencoder(ARCHITECTURES[name], seed=seed)
        model.register_forward_hook(lambda module, arguments, output: seen.append((arguments[0], output)))
        error = noisy_mean_squared_error(model, dataset, Recipe(objective="denoising", seed=seed))
        output = seen[-1][1]
        assert error == pytest.approx(float((output - clean.flatten(1)).square().mean()), rel=1e-5)
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][0], Corruption("gaussian", 0.2).fixed(clean, seed=0))
    assert torch.equal(dataset.data, clean)


class Operations(TorchDispatchMode):
    """Counts the tensor operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        self.count += 1
        return operation(*arguments, **(options or {}))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_as_many_operations_corrupt_two_images_as_two_hundred(kind):
    counts = []
    for images in (grey(2), grey(200)):
        with Operations() as operations:
            corrupt(kind, 0.2, images)
        counts.append(operations.count)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("level", [-0.1, 1.1, float("nan"), float("inf"), "0.2", True, None])
def test_a_level_outside_its_range_is_refused(level):
    with pytest.raises(ConfigError, match="^corruption_level: found .*, allowed: .* >= 0 and <= 1$"):
        Corruption("gaussian", level)


def test_an_unknown_corruption_is_refused():
    with pytest.raises(ConfigError, match="^corruption: found 'pepper'.*, allowed: gaussian, masking"):
        Corruption("pepper")


def test_noise_drawn_once_for_all_epochs_is_found_out(monkeypatch):
    once = {}

    def drawn_once(self, images, generator):
        return once.setdefault("noise", deepcopy(images) * 0)

    monkeypatch.setattr(Corruption, "__call__", drawn_once)
    first, second = inputs_of_epochs("gaussian", seed=1)
    assert torch.equal(first, second)
