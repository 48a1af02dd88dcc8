"""Layers that are wrong in one way each."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from core_torch.parity.adapters.recording.setup import Setup
from core_torch.parity.recorded.trees import Tensors

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Change = Callable[[nn.Module], int]
Layer = Any  # a layer, whose settings depend on its kind
Kinds = type[nn.Module] | tuple[type[nn.Module], ...]


def _each(kinds: Kinds, change: Callable[[Layer], None]) -> Change:
    """Change every layer of some kinds; say how many there were."""

    def apply(model: nn.Module) -> int:
        layers = [layer for layer in model.modules() if isinstance(layer, kinds)]
        for layer in layers:
            change(layer)
        return len(layers)

    return apply


def _setting(**values: float) -> Callable[[Layer], None]:
    def change(layer: Layer) -> None:
        for name, value in values.items():
            setattr(layer, name, value)

    return change


def norm_bugs(setup: Setup) -> Iterator[tuple[str, Setup | None]]:
    """Epsilons and momenta of norms."""
    for epsilon, whose in ((1e-3, "Keras's"), (1e-5, "PyTorch's"), (1e-6, "Flax's"), (1e-12, "BERT's")):
        text = f"epsilon of norms {epsilon:g}, which is {whose}"
        yield text, setup.with_model(_each(NORMS, _setting(eps=epsilon)))
    for momentum, whose in ((0.01, "Keras's and Flax's 0.99"), (0.9, "the other convention's 0.1")):
        text = f"momentum of running statistics {momentum:g} in PyTorch's convention, which is {whose}"
        yield text, setup.with_model(_each(BATCH_NORMS, _setting(momentum=momentum)))
    yield "running variance biased, as Keras and Flax keep it", setup.with_model(_each(BATCH_NORMS, _keep_biased))
    yield "running statistics never move", setup.with_model(_each(BATCH_NORMS, _setting(momentum=0.0)))


def _keep_biased(layer: Layer) -> None:
    """Undo Bessel's correction of the running variance after every forward pass in training."""

    def before(layer: Layer, inputs: Tensors) -> None:
        layer.variance_before = layer.running_var.clone()

    def after(layer: Layer, inputs: Tensors, output: Tensors) -> None:
        if layer.training:
            count = inputs[0].numel() / inputs[0].shape[1]
            moved = layer.running_var - (1 - layer.momentum) * layer.variance_before
            layer.running_var.data.sub_(moved / count)  # outside of the graph, which keeps the tensor

    layer.register_forward_pre_hook(before)
    layer.register_forward_hook(after)


def convolution_bugs(setup: Setup) -> Iterator[tuple[str, Setup | None]]:
    """Padding and kernels of convolutions."""
    yield "padding `same` at stride 2, which pads less before than after", setup.with_model(_pad_same)
    yield "convolution with flipped kernels", setup.with_model(_each(nn.Conv2d, _flip_kernel))
    yield "pooling by the average instead of the maximum", setup.with_model(_replace(nn.MaxPool2d, _to_average))
    yield "pooling by the maximum instead of the average", setup.with_model(_replace(nn.AvgPool2d, _to_maximum))


def _pad_same(model: nn.Module) -> int:
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d) and max(layer.stride) > 1]
    count = 0
    for layer in layers:
        if isinstance(layer.padding, tuple) and layer.padding_mode == "zeros":
            layer.register_forward_pre_hook(_same_padding(layer.kernel_size, layer.stride))
            layer.padding = (0, 0)
            count += 1
    return count


def _same_padding(kernel: tuple[int, ...], stride: tuple[int, ...]) -> Callable[[Layer, Tensors], Tensors]:
    def pad(layer: Layer, inputs: Tensors) -> Tensors:
        pads: list[int] = []
        for size, window, step in reversed(list(zip(inputs[0].shape[2:], kernel, stride, strict=True))):
            total = max((-(-size // step) - 1) * step + window - size, 0)
            pads += [total // 2, total - total // 2]
        return (F.pad(inputs[0], pads), *inputs[1:])

    return pad


class FlippedConvolution(nn.Conv2d):
    """A convolution in the sense of mathematics, not of deep learning."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Flip the kernel, then correlate."""
        flipped = self.weight.flip(2, 3)
        return F.conv2d(input, flipped, self.bias, self.stride, self.padding, self.dilation, self.groups)


def _flip_kernel(layer: Layer) -> None:
    layer.__class__ = FlippedConvolution


def _to_average(layer: Layer) -> nn.Module:
    return nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding)


def _to_maximum(layer: Layer) -> nn.Module:
    return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding)


def _replace(kind: type[nn.Module], build: Callable[[Layer], nn.Module]) -> Change:
    """Replace every layer of a kind by another."""

    def apply(model: nn.Module) -> int:
        found = [
            (parent, name)
            for parent in model.modules()
            for name, child in parent.named_children()
            if isinstance(child, kind)
        ]
        for parent, name in found:
            setattr(parent, name, build(getattr(parent, name)))
        return len(found)

    return apply


class ChannelsLastFlatten(nn.Flatten):
    """Flattens as frameworks that keep channels last do."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, C, ...) -> (N, ... * C)."""
        return super().forward(input.movedim(1, -1))


def activation_bugs(setup: Setup) -> Iterator[tuple[str, Setup | None]]:
    """Activations of another form or slope, and the order in which images become vectors."""
    gelu = _each(
        nn.GELU, lambda layer: setattr(layer, "approximate", "none" if layer.approximate == "tanh" else "tanh")
    )
    yield "GELU by tanh instead of exact, or the reverse", setup.with_model(gelu)
    for slope, whose in ((0.3, "Keras 2's"), (0.2, "TensorFlow's"), (0.01, "PyTorch's")):
        text = f"leaky ReLU with slope {slope:g}, which is {whose}"
        yield text, setup.with_model(_each(nn.LeakyReLU, _setting(negative_slope=slope)))
    yield "ReLU6 instead of ReLU", setup.with_model(_replace(nn.ReLU, lambda layer: nn.ReLU6()))
    yield "no ReLU", setup.with_model(_replace(nn.ReLU, lambda layer: nn.Identity()))
    yield "SiLU instead of ReLU", setup.with_model(_replace(nn.ReLU, lambda layer: nn.SiLU()))
    flatten = _replace(nn.Flatten, lambda layer: ChannelsLastFlatten(layer.start_dim, layer.end_dim))
    yield "images flattened with channels last", setup.with_model(flatten)


def causal_bugs(setup: Setup) -> Iterator[tuple[str, Setup | None]]:
    """Padding rows of embeddings that are trained."""

    def train_padding(layer: Layer) -> None:
        layer.padding_idx = None

    embeddings = [layer for layer in setup.model.modules() if isinstance(layer, nn.Embedding)]
    if any(layer.padding_idx is not None for layer in embeddings):
        yield "the padding row of the embedding is trained", setup.with_model(_each(nn.Embedding, train_padding))


LAYER_BUGS = (norm_bugs, convolution_bugs, activation_bugs, causal_bugs)
