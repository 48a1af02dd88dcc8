"""The architectures, as frozen values that list their layers. Every framework builds from these lists.

A parameter is named by its place: `encoder.0.weight` is the weight of `encoder_layers()[0]`.
"""

from dataclasses import asdict, dataclass, fields, replace

from core_torch.spec.errors import ConfigError, check_boolean, check_choice, check_integer, check_widths
from core_torch.spec.fields import check_fields, choice
from core_torch.spec.layers import (
    ACTIVATIONS,
    Activation,
    Convolution,
    Dense,
    Flatten,
    Layer,
    MaxPooling,
    TransposedConvolution,
    Unflatten,
)

IMAGE_SIDE = 28  # pixels, every dataset of this repository
PIXELS = IMAGE_SIDE * IMAGE_SIDE


@dataclass(frozen=True, kw_only=True)
class FullyConnected:
    """Input (N, widths[0]) in [0, 1], code (N, widths[-1]), output (N, widths[0]).

    widths (784, 200) lists 784 -> 200 (code activation) -> 784 (output activation);
    widths (784, 500, 10) lists 784 -> 500 (hidden) -> 10 (code) -> 500 (hidden) -> 784 (output).
    With `tied`, decoder weight i is the transpose of encoder weight -1-i and only biases are its own.
    """

    widths: tuple[int, ...] = (PIXELS, 200)
    hidden_activation: str = choice("relu", "of hidden units", allowed=ACTIVATIONS)
    code_activation: str = choice("relu", "of code units", allowed=ACTIVATIONS)
    output_activation: str = choice("sigmoid", "of output units", allowed=ACTIVATIONS)
    bias: bool = True
    tied: bool = False

    def __post_init__(self) -> None:
        check_widths("widths", self.widths, least=2)
        object.__setattr__(self, "widths", tuple(self.widths))
        check_boolean("bias", self.bias)
        check_boolean("tied", self.tied)
        check_fields(self)

    @property
    def depth(self) -> int:
        """Number of dense layers of the encoder."""
        return len(self.widths) - 1

    @property
    def code_width(self) -> int:
        """Number of code units."""
        return self.widths[-1]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch."""
        return (self.widths[0],)

    def encoder_layers(self) -> list[Layer]:
        """List Dense, activation, Dense, activation, ... down to the code."""
        return self._stack(self.widths, last=self.code_activation)

    def decoder_layers(self) -> list[Layer]:
        """List the mirror image, ending in the output activation."""
        return self._stack(self.widths[::-1], last=self.output_activation)

    def _stack(self, widths: tuple[int, ...], *, last: str) -> list[Layer]:
        layers: list[Layer] = []
        for inputs, outputs in zip(widths[:-1], widths[1:]):
            layers += [Dense(inputs, outputs, self.bias), Activation(self.hidden_activation)]
        return [*layers[:-1], Activation(last)]


@dataclass(frozen=True, kw_only=True)
class Convolutional:
    """Input (N, channels, side, side) in [0, 1], code (N, code_width), output (N, channels * side * side).

    Encoder, for each i: Convolution(filters[i], kernel_sizes[i]) padded so that its side becomes
    side // stride, hidden activation, and MaxPooling(2) after every `pool_every`-th convolution (0: never);
    then Flatten, Dense to the code. `strides` has one per convolution; empty means 1, which keeps the area.
    Decoder: Dense, hidden activation, Unflatten, then one TransposedConvolution per convolution, in reverse,
    its stride what the encoder divided by, cropped so that every side length returns exactly.
    """

    side: int = IMAGE_SIDE
    channels: int = 1
    filters: tuple[int, ...] = (20,)
    kernel_sizes: tuple[int, ...] = (5,)
    strides: tuple[int, ...] = ()
    pool_every: int = 1
    code_width: int = 100
    hidden_activation: str = choice("relu", "of hidden units", allowed=ACTIVATIONS)
    code_activation: str = choice("relu", "of code units", allowed=ACTIVATIONS)
    output_activation: str = choice("sigmoid", "of output units", allowed=ACTIVATIONS)

    def __post_init__(self) -> None:
        check_integer("side", self.side, minimum=1)
        check_integer("channels", self.channels, minimum=1)
        check_widths("filters", self.filters, least=1)
        check_widths("kernel_sizes", self.kernel_sizes, least=1)
        check_widths("strides", self.strides, least=0)
        check_integer("pool_every", self.pool_every, minimum=0)
        check_integer("code_width", self.code_width, minimum=1)
        for name in ("filters", "kernel_sizes", "strides"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, values in (("kernel_sizes", self.kernel_sizes), ("strides", self.strides or self.filters)):
            if len(values) != len(self.filters):
                raise ConfigError(
                    f"{name}: found {len(values)} values, allowed: one for each of the {len(self.filters)} filters"
                )
        check_fields(self)
        self._sides()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch."""
        return (self.channels, self.side, self.side)

    def _stride(self, index: int) -> int:
        return self.strides[index] if self.strides else 1

    def _pools(self, index: int) -> bool:
        return self.pool_every > 0 and (index + 1) % self.pool_every == 0

    def _sides(self) -> list[int]:
        """Compute the side length before each convolution, and after the last; refuses what would not fit."""
        sides = [self.side]
        for index, kernel in enumerate(self.kernel_sizes):
            if kernel > sides[-1]:
                raise ConfigError(
                    f"kernel_sizes[{index}]: found {kernel}, allowed: at most the image side there, {sides[-1]}"
                )
            if self._stride(index) > kernel:
                raise ConfigError(
                    f"strides[{index}]: found {self._stride(index)}, allowed: at most the kernel size there, {kernel}"
                )
            side = sides[-1] // self._stride(index)
            sides.append(side // 2 if self._pools(index) else side)
            if sides[-1] == 0:
                raise ConfigError(f"pool_every: found {self.pool_every}, which pools a side of 1 pixel to 0")
        return sides

    def encoder_layers(self) -> list[Layer]:
        """List Convolution, activation, (pooling), ..., Flatten, Dense, code activation."""
        layers: list[Layer] = []
        channels = (self.channels, *self.filters)
        for index, kernel in enumerate(self.kernel_sizes):
            stride = self._stride(index)
            zeros = kernel - stride  # in all: then (side + zeros - kernel) // stride + 1 = side // stride
            padding = (zeros // 2, zeros - zeros // 2)
            layers.append(Convolution(channels[index], channels[index + 1], kernel, stride, padding))
            layers.append(Activation(self.hidden_activation))
            if self._pools(index):
                layers.append(MaxPooling(2))
        flat = self.filters[-1] * self._sides()[-1] ** 2
        return [*layers, Flatten(), Dense(flat, self.code_width), Activation(self.code_activation)]

    def decoder_layers(self) -> list[Layer]:
        """List Dense, activation, Unflatten, TransposedConvolution, activation, ..., Flatten, activation."""
        sides, channels = self._sides(), (self.channels, *self.filters)
        flat = self.filters[-1] * sides[-1] ** 2
        layers: list[Layer] = [Dense(self.code_width, flat), Activation(self.hidden_activation)]
        layers.append(Unflatten(self.filters[-1], sides[-1]))
        for index in reversed(range(len(self.filters))):
            layers.append(
                _restoring_convolution(
                    channels[index + 1],
                    channels[index],
                    kernel=self.kernel_sizes[index],
                    stride=self._stride(index) * (2 if self._pools(index) else 1),
                    sides=(sides[index + 1], sides[index]),
                )
            )
            layers.append(Activation(self.hidden_activation))
        return [*layers[:-1], Flatten(), Activation(self.output_activation)]


Architecture = FullyConnected | Convolutional


def _restoring_convolution(
    inputs: int, outputs: int, *, kernel: int, stride: int, sides: tuple[int, int]
) -> TransposedConvolution:
    """Build the transposed convolution from side `sides[0]` to exactly `sides[1]`.

    Where pooling dropped an odd row, the mirrored kernel may be too small to reach it again: then it grows.
    """
    small, large = sides
    kernel = max(kernel, stride, large - (small - 1) * stride)
    excess = (small - 1) * stride + kernel - large
    return TransposedConvolution(inputs, outputs, kernel, stride, crop=(excess // 2, excess - excess // 2))


# The original's shapes. The randomized models are fully connected, without biases, trained layer by layer; their
# output is linear because ridge regression is least squares.
DENSE: dict[str, FullyConnected] = {
    "shallow": FullyConnected(),
    "deep": FullyConnected(widths=(PIXELS, 500, 200, 100, 10)),
    "randomized-shallow": FullyConnected(widths=(PIXELS, 500), bias=False, output_activation="linear"),
    "randomized-deep": FullyConnected(widths=(PIXELS, 700, 700), bias=False, output_activation="linear"),
}
CONVOLUTIONAL: dict[str, Convolutional] = {
    "conv-shallow": Convolutional(),
    "conv-deep": Convolutional(filters=(10, 20, 50), kernel_sizes=(5, 5, 3)),
}
ARCHITECTURES: dict[str, Architecture] = {**DENSE, **CONVOLUTIONAL}


def architecture_named(name: str, **changes: object) -> Architecture:
    """Return the architecture of that name, with fields replaced; `ConfigError` if there is none."""
    check_choice("model", name, ARCHITECTURES)
    return replace(ARCHITECTURES[name], **changes)  # type: ignore[arg-type]


def parameter_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return {name: shape} in the reference's order and layout; a tied decoder has no weights of its own."""
    shapes: dict[str, tuple[int, ...]] = {}
    tied = isinstance(architecture, FullyConnected) and architecture.tied
    parts = {"encoder": architecture.encoder_layers(), "decoder": architecture.decoder_layers()}
    for part, layers in parts.items():
        for index, layer in enumerate(layers):
            for name, shape in _layer_shapes(layer).items():
                if not (tied and part == "decoder" and name == "weight"):
                    shapes[f"{part}.{index}.{name}"] = shape
    return shapes


def _layer_shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    match layer:
        case Dense(inputs, outputs, bias):
            return {"weight": (outputs, inputs)} | ({"bias": (outputs,)} if bias else {})
        case Convolution(inputs, outputs, kernel):
            return {"weight": (outputs, inputs, kernel, kernel), "bias": (outputs,)}
        case TransposedConvolution(inputs, outputs, kernel):
            return {"weight": (inputs, outputs, kernel, kernel), "bias": (outputs,)}
        case _:
            return {}


def describe(architecture: Architecture, *, layers: bool = False) -> dict[str, object]:
    """Describe the architecture as plain values, for a manifest; with `layers`, also what `describe_layers` finds."""
    described = {"kind": type(architecture).__name__, **asdict(architecture)}
    return described | ({"layers": describe_layers(architecture)} if layers else {})


def describe_layers(architecture: Architecture) -> list[dict[str, object]]:
    """Describe every layer as plain values, in order: its name, its kind, its fields, and where its weight is kept.

    With this list a port in another language need not derive paddings and crops.
    """
    encoder, decoder = architecture.encoder_layers(), architecture.decoder_layers()
    is_tied = isinstance(architecture, FullyConnected) and architecture.tied
    described = []
    for part, layers in (("encoder", encoder), ("decoder", decoder)):
        for index, layer in enumerate(layers):
            found: dict[str, object] = {"name": f"{part}.{index}", "kind": type(layer).__name__}
            fields_of = {"function": layer.name} if isinstance(layer, Activation) else asdict(layer)
            found |= {name: list(value) if isinstance(value, tuple) else value for name, value in fields_of.items()}
            is_transposed = is_tied and part == "decoder"
            if isinstance(layer, Dense):
                found["transposed"] = is_transposed
            if "weight" in _layer_shapes(layer):
                source = f"encoder.{len(encoder) - 2 - index}" if is_transposed else found["name"]
                found["weight"] = f"{source}.weight"
            described.append(found)
    return described


def architecture_from(description: object) -> Architecture:
    """Build the described architecture; `ConfigError` for what `describe` would not have written."""
    kinds: dict[str, type[Architecture]] = {"FullyConnected": FullyConnected, "Convolutional": Convolutional}
    if not isinstance(description, dict):
        raise ConfigError(f"architecture: found {description!r}, allowed: a table with a kind")
    check_choice("architecture kind", description.get("kind"), kinds)
    kind = kinds[description["kind"]]
    given = {name: value for name, value in description.items() if name not in ("kind", "layers")}
    for name in given:
        check_choice("architecture field", name, [field.name for field in fields(kind)])
    architecture = kind(**given)
    if "layers" in description and description["layers"] != describe_layers(architecture):
        raise ConfigError("architecture: found layers that differ from those of the other fields, allowed: the same")
    return architecture
