"""The floors do the work that they are named after.

Run as a script with a library's name, this file prints what its floor computes, in a process without other libraries.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ports.timed_port import Case
from benchmarks.timing import floors
from benchmarks.timing.floors import FLOORS, OWN_GEMM, Product, operations_per_image, prepare, products
from core_torch.files.splits import Split, to_unit_range
from core_torch.spec.architecture import ARCHITECTURES
from core_torch.spec.recipe import Recipe

ROOT = Path(__file__).parents[2]
BATCH_SIZE, STEPS = 32, 2
EXPECTED = STEPS * products(ARCHITECTURES["shallow"], BATCH_SIZE)
MULTIPLIES = {"numpy": "matmul", "torch": "mm"}  # `library.name(left, right, out=product)`
COMPILES = {"jax": "jit", "tensorflow": "function"}  # of a function from pairs to products
# Alone: TensorFlow must not meet torch.
ALONE = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}


class Watch:
    """Stands in for what a library multiplies by, and notes the products that came out as they should."""

    def __init__(self) -> None:
        self.found: list[Product] = []

    def multiply(self, multiply: Callable[..., Any]) -> Callable[..., Any]:
        """It, into an output that holds no product before."""

        def watched(left: Any, right: Any, *, out: Any) -> Any:
            out[...] = np.nan
            multiply(left, right, out=out)
            self._note(left, right, out)
            return out

        return watched

    def compile(self, compile: Callable[..., Any]) -> Callable[..., Any]:
        """It, the outcome of every call of the compiled function looked at."""

        def watched(function: Callable[..., Any]) -> Callable[..., Any]:
            run = compile(function)

            def call(pairs: list[Any]) -> list[Any]:
                products = run(pairs)
                for (left, right), product in zip(pairs, products, strict=True):
                    self._note(left, right, product)
                return products

            return call

        return watched

    def _note(self, *matrices: Any) -> None:
        left, right, product = map(np.asarray, matrices)
        if product.shape == (len(left), right.shape[1]) and np.allclose(product, left @ right, rtol=1e-4):
            self.found.append((*left.shape, right.shape[1]))


def computed(library: str) -> tuple[list[Product], int]:
    """The right products of some steps of its floor, and the number of images it says these are."""
    module, watch = import_module(library), Watch()
    name, wrap = (MULTIPLIES[library], watch.multiply) if library in MULTIPLIES else (COMPILES[library], watch.compile)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(floors, "GEMM_IMAGES", STEPS * BATCH_SIZE)
        patch.setattr(module, name, wrap(getattr(module, name)))
        trial = prepare(Case(framework="floor", variant=f"gemm {library}", batch_size=BATCH_SIZE), None, Recipe())
        watch.found.clear()
        images = trial.epoch(0)
    return watch.found, images


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
    """At a stride of 2 its input has half the image's sides."""
    last = [layer for layer in ARCHITECTURES[model].decoder_layers() if hasattr(layer, "crop")][-1]
    rows, inner, outputs = products(ARCHITECTURES[model], BATCH_SIZE)[-3]
    assert rows * last.stride**2 * last.outputs == BATCH_SIZE * 784
    assert (inner, outputs) == (last.inputs, last.outputs * last.kernel**2)


def operations_counted(model: str) -> int:
    """By PyTorch, in its own matrix products and convolutions of a training step."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from core_torch.models.autoencoder import build_autoencoder

    autoencoder, images = build_autoencoder(ARCHITECTURES[model]), torch.rand(BATCH_SIZE, 1, 28, 28)
    with FlopCounterMode(display=False) as counter:
        autoencoder(images).square().mean().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("model", ["shallow", "deep", "conv-shallow", "conv-deep"])
def test_the_products_are_the_operations_that_pytorch_counts(model, monkeypatch):
    counted = operations_counted(model) / BATCH_SIZE
    assert operations_per_image(ARCHITECTURES[model], BATCH_SIZE) == counted
    whole = floors._forward
    monkeypatch.setattr(floors, "_forward", lambda *given: list(whole(*given))[:-1])
    assert operations_per_image(ARCHITECTURES[model], BATCH_SIZE) < counted


@pytest.mark.parametrize("library", MULTIPLIES)
def test_every_product_is_computed_in_every_step(library):
    assert computed(library) == (EXPECTED, STEPS * BATCH_SIZE)


@pytest.mark.parametrize("library", COMPILES)
def test_so_it_is_in_a_process_of_its_own(library):
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    command = [sys.executable, __file__, library]
    done = subprocess.run(command, env=os.environ | ALONE, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    found, images = json.loads(done.stdout.splitlines()[-1])
    assert (list(map(tuple, found)), images) == (EXPECTED, STEPS * BATCH_SIZE)


def nothing(*given: object, **options: object) -> None:
    """A product that is not computed."""


@pytest.mark.parametrize("library", MULTIPLIES)
@pytest.mark.parametrize("kept", [0, 1, 4])
def test_products_that_are_left_out_are_missed(library, kept, monkeypatch):
    whole = floors._multiplication
    monkeypatch.setattr(floors, "_multiplication", lambda name, pairs, device: whole(name, pairs[:kept], device))
    found, images = computed(library)
    assert found == STEPS * EXPECTED[:kept] != EXPECTED
    assert images == STEPS * BATCH_SIZE


@pytest.mark.parametrize("library", MULTIPLIES)
def test_a_multiplication_that_does_nothing_is_seen(library, monkeypatch):
    monkeypatch.setattr(floors, "_multiplication", lambda *given: nothing)
    assert computed(library)[0] == []
    monkeypatch.undo()
    monkeypatch.setattr(import_module(library), MULTIPLIES[library], nothing)
    assert computed(library)[0] == []


@pytest.mark.parametrize(("scale", "expected"), [(1, [(2, 3, 4)]), (2, [])])
def test_a_compiled_function_whose_outcome_is_another_is_seen(scale, expected):
    watch = Watch()
    run = watch.compile(lambda function: function)(lambda pairs: [scale * (left @ right) for left, right in pairs])
    run([(np.ones((2, 3)), np.ones((3, 4)))])
    assert watch.found == expected


@pytest.fixture
def split(digits: Split) -> Split:
    return digits.take(np.arange(80))


def loaded(variant: str, split: Split) -> int:
    trial = prepare(Case(framework="floor", variant=variant, batch_size=BATCH_SIZE), split, Recipe())
    assert trial.epoch(0) == trial.epoch(1)
    return trial.epoch(2)


def test_the_copy_is_of_every_pixel(split, monkeypatch):
    batches: list[np.ndarray] = []

    def watched(buffer: np.ndarray, batch: np.ndarray) -> None:
        buffer[...] = batch
        batches.append(buffer.copy())

    monkeypatch.setattr(floors.np, "copyto", watched)
    assert loaded("copy", split) == len(split)
    assert np.array_equal(np.concatenate(batches), np.tile(to_unit_range(split.images), (3, 1, 1)))


def test_the_empty_loop_goes_over_the_indices_of_every_image(split, monkeypatch):
    whole, seen = floors.batch_order, []

    def watched(*given: Any, **options: Any) -> Any:
        for rows in whole(*given, **options):
            seen.extend(rows)
            yield rows

    monkeypatch.setattr(floors, "batch_order", watched)
    assert loaded("indices", split) == len(split)
    assert np.array_equal(np.sort(seen), np.repeat(np.arange(len(split)), 3))


def test_every_framework_has_a_floor():
    from benchmarks.ports.frameworks import FRAMEWORKS

    assert OWN_GEMM.keys() == FRAMEWORKS.keys()
    assert set(OWN_GEMM.values()) <= FLOORS.keys()


if __name__ == "__main__":
    print(json.dumps(computed(sys.argv[1])))
