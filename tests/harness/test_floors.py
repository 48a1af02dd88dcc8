"""The floors do the work that they are named after."""

import math

import numpy as np
import pytest

from benchmarks import floors
from benchmarks.floors import FLOORS, OWN_GEMM, operations_per_image, prepare, products
from benchmarks.trial import Case
from core_torch.contract.architecture import ARCHITECTURES
from core_torch.contract.pixels import Split
from core_torch.contract.recipe import Recipe

BATCH_SIZE = 32


def test_the_products_of_the_shallow_model_are_five():
    batch, width = 10, ARCHITECTURES["shallow"].code_width
    assert products(ARCHITECTURES["shallow"], batch) == [
        (batch, 784, width),
        (784, batch, width),
        (batch, width, 784),
        (width, batch, 784),
        (batch, 784, width),
    ]


@pytest.mark.parametrize("model", ["shallow", "deep"])
def test_a_dense_step_is_two_operations_a_weight_forward_and_four_backward_but_for_the_first_input(model):
    layers = [*ARCHITECTURES[model].encoder_layers(), *ARCHITECTURES[model].decoder_layers()]
    weights = [layer.inputs * layer.outputs for layer in layers if hasattr(layer, "bias")]
    assert operations_per_image(ARCHITECTURES[model], BATCH_SIZE) == 6 * sum(weights) - 2 * weights[0]


def test_a_convolution_is_the_product_of_its_patches_with_its_kernels():
    architecture = ARCHITECTURES["conv-shallow"]
    first = architecture.encoder_layers()[0]
    side = 28 + sum(first.padding) - first.kernel + 1
    assert products(architecture, 3)[0] == (3 * side**2, first.inputs * first.kernel**2, first.outputs)


@pytest.mark.parametrize("model", ["conv-shallow", "conv-deep"])
def test_the_last_convolution_has_the_image_as_its_output(model):
    rows, inner, outputs = products(ARCHITECTURES[model], 1)[-3:][0]
    assert rows * inner * outputs > 0
    assert all(math.prod(product) > 0 for product in products(ARCHITECTURES[model], 1))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_every_product_is_computed_in_every_step(library, monkeypatch):
    monkeypatch.setattr(floors, "GEMM_IMAGES", 2 * BATCH_SIZE)
    trial = prepare(Case(framework="floor", route=f"gemm {library}", batch_size=BATCH_SIZE), None, Recipe())
    assert trial.epoch(0) == 2 * BATCH_SIZE


def test_a_library_that_multiplies_is_asked_for_all_products():
    generator = np.random.default_rng(0)
    pairs = [(generator.random((3, 4), np.float32), generator.random((4, 2), np.float32)) for _ in range(3)]
    found = floors._multiplication("numpy", pairs, "cpu")()
    assert all(np.array_equal(product, left @ right) for (left, right), product in zip(pairs, found, strict=True))


@pytest.mark.parametrize("route", ["copy", "indices"])
def test_a_floor_of_loading_passes_every_image(route, digits: Split):
    split = digits.take(np.arange(80))
    trial = prepare(Case(framework="floor", route=route, batch_size=BATCH_SIZE), split, Recipe())
    assert trial.epoch(0) == trial.epoch(1) == 80


def test_every_framework_has_a_floor():
    from benchmarks.cases import FRAMEWORKS

    assert OWN_GEMM.keys() == FRAMEWORKS.keys()
    assert set(OWN_GEMM.values()) <= FLOORS.keys()
