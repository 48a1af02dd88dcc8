"""Floors: what the hardware needs at least. The same matrix products alone, a copy of the batches, an empty loop.

They run in turns with the contenders, each in a process of its own; nothing is proved of them, since they compute
nothing that a model would. A product's rate differs between libraries, so every framework is also held to its own.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.ports.frameworks import Framework
from benchmarks.ports.timed_port import Case
from core_torch.files.splits import Split, to_unit_range
from core_torch.spec.architecture import Architecture
from core_torch.spec.batch_order import batch_order
from core_torch.spec.errors import check_choice
from core_torch.spec.layers import Convolution, Dense, MaxPooling, TransposedConvolution, Unflatten
from core_torch.spec.recipe import Recipe

GEMM_IMAGES = 4096  # products of so many images are one sample: time an image is what counts
GEMMS = ("gemm numpy", "gemm torch", "gemm tensorflow", "gemm jax")
DATA = ("copy", "indices")
FLOORS = {floor: Framework("benchmarks.timing.floors", {floor: "alone"}) for floor in (*GEMMS, *DATA)}
OWN_GEMM = {  # a framework's own
    "core_torch": "gemm torch",
    "lightning": "gemm torch",
    "keras-torch": "gemm torch",
    "keras-tensorflow": "gemm tensorflow",
    "keras-jax": "gemm jax",
}

Product = tuple[int, int, int]  # (m, k, n): of an (m, k) and a (k, n) matrix


def products(architecture: Architecture, batch_size: int) -> list[Product]:
    """Of a training step: forward, and backward to every weight, and to every layer's input but the first's.

    A convolution counts as the product of its unfolded patches with its kernels (Chellapilla et al. 2006).
    """
    found: list[Product] = []
    for rows, inner, outputs in _forward(architecture, batch_size):
        backward = [(inner, rows, outputs)] + ([(rows, outputs, inner)] if found else [])
        found += [(rows, inner, outputs), *backward]
    return found


def _forward(architecture: Architecture, batch_size: int) -> Iterator[Product]:
    side = architecture.input_shape[-1]
    for layer in (*architecture.encoder_layers(), *architecture.decoder_layers()):
        match layer:
            case Dense():
                yield batch_size, layer.inputs, layer.outputs
            case Convolution():
                side = (side + sum(layer.padding) - layer.kernel) // layer.stride + 1
                yield batch_size * side**2, layer.inputs * layer.kernel**2, layer.outputs
            case TransposedConvolution():
                yield batch_size * side**2, layer.inputs, layer.outputs * layer.kernel**2
                side = (side - 1) * layer.stride + layer.kernel - sum(layer.crop)
            case MaxPooling():
                side //= layer.size
            case Unflatten():
                side = layer.side


def operations_per_image(architecture: Architecture, batch_size: int) -> float:
    """Multiplications and additions of `products`."""
    return sum(2.0 * math.prod(product) for product in products(architecture, batch_size)) / batch_size


class FloorTrial:
    """What is timed: a function that returns the number of images it stands for."""

    def __init__(self, run: Callable[[int], int]) -> None:
        self.epoch = run


def prepare(case: Case, split: Split, recipe: Recipe) -> FloorTrial:
    """The floor that the case's variant names."""
    check_choice("floor", case.variant, FLOORS)
    if case.variant in GEMMS:
        return FloorTrial(gemm_epoch(case))
    if case.variant == "copy":
        return FloorTrial(copy_epoch(split, case.batch_size))
    return FloorTrial(lambda epoch: sum(len(rows) for rows in batch_order(len(split), case.batch_size, epoch=epoch)))


def copy_epoch(split: Split, batch_size: int) -> Callable[[int], int]:
    """The float32 pixels of all images in the order stored, batch by batch, into one buffer."""
    images = to_unit_range(split.images)
    buffer = np.empty_like(images[:batch_size])

    def run(epoch: int) -> int:
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            np.copyto(buffer[: len(batch)], batch)
        return len(images)

    return run


def gemm_epoch(case: Case) -> Callable[[int], int]:
    """The matrix products of some training steps by a library, in float32."""
    generator = np.random.default_rng(0)
    pairs = [
        (generator.random((rows, inner), dtype=np.float32), generator.random((inner, outputs), dtype=np.float32))
        for rows, inner, outputs in products(case.architecture, case.batch_size)
    ]
    multiply = _multiplication(case.variant.removeprefix("gemm "), pairs, case.device)
    steps = -(-GEMM_IMAGES // case.batch_size)
    wait = _synchronize if case.variant == "gemm torch" and case.device.startswith("cuda") else None

    def run(epoch: int) -> int:
        for _ in range(steps):
            multiply()
        if wait:
            wait()  # once, as an epoch does
        return steps * case.batch_size

    return run


def _synchronize() -> None:
    import torch

    torch.cuda.synchronize()


def record_graph(run: Callable[[], object]) -> Callable[[], None]:
    """Its kernels as one CUDA graph, so that no launch counts."""
    import torch

    from core_torch.training.graphed import WARM_UP_STEPS

    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_STEPS):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph, stream=stream):
        run()

    def replay() -> None:
        graph.replay()

    replay.recorded = run  # type: ignore[attr-defined]  # keeps alive what the kernels read and write
    return replay


def _multiplication(library: str, pairs: list[tuple[np.ndarray, np.ndarray]], device: str) -> Callable[[], object]:
    """All the products, done when it returns; by PyTorch on a GPU enqueued."""
    if library == "torch":
        import torch

        from core_torch.training.candidate import pin_precision

        pin_precision()
        tensors = [[torch.from_numpy(array).to(device) for array in pair] for pair in pairs]
        outputs = [left @ right for left, right in tensors]

        def by_torch() -> None:
            for (left, right), output in zip(tensors, outputs):
                torch.mm(left, right, out=output)

        return record_graph(by_torch) if device.startswith("cuda") else by_torch
    if library == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)
        constants = [[tf.constant(array) for array in pair] for pair in pairs]
        by_tensorflow = tf.function(lambda operands: [left @ right for left, right in operands])
        return lambda: by_tensorflow(constants)[-1][0, 0].numpy()
    if library == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
        operands = [[jax.numpy.asarray(array) for array in pair] for pair in pairs]
        by_jax = jax.jit(lambda operands: [left @ right for left, right in operands])
        return lambda: jax.block_until_ready(by_jax(operands))
    products_here = [left @ right for left, right in pairs]
    return lambda: [np.matmul(left, right, out=product) for (left, right), product in zip(pairs, products_here)]
