"""The six architectures are the ones described, and a convolutional one returns its image's side exactly."""

import json
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.architecture import (
    ARCHITECTURES,
    Convolutional,
    FullyConnected,
    architecture_from,
    architecture_named,
    describe,
    parameter_shapes,
)
from core_torch.spec.errors import ConfigError
from core_torch.spec.initial_weights import initial_weights
from core_torch.spec.layers import (
    Activation,
    Convolution,
    Dense,
    Flatten,
    MaxPooling,
    TransposedConvolution,
    Unflatten,
)

RELU, SIGMOID = Activation("relu"), Activation("sigmoid")
LINEAR = Activation("linear")

LAYERS = {
    "shallow": (
        [Dense(784, 200), RELU],
        [Dense(200, 784), SIGMOID],
    ),
    "deep": (
        [Dense(784, 500), RELU, Dense(500, 200), RELU, Dense(200, 100), RELU, Dense(100, 10), RELU],
        [Dense(10, 100), RELU, Dense(100, 200), RELU, Dense(200, 500), RELU, Dense(500, 784), SIGMOID],
    ),
    "randomized-shallow": (
        [Dense(784, 500, bias=False), RELU],
        [Dense(500, 784, bias=False), LINEAR],
    ),
    "randomized-deep": (
        [Dense(784, 700, bias=False), RELU, Dense(700, 700, bias=False), RELU],
        [Dense(700, 700, bias=False), RELU, Dense(700, 784, bias=False), LINEAR],
    ),
    "conv-shallow": (
        [
            Convolution(1, 20, 5, padding=(2, 2)),
            RELU,
            MaxPooling(2),
            Flatten(),
            Dense(20 * 14 * 14, 100),
            RELU,
        ],
        [
            Dense(100, 20 * 14 * 14),
            RELU,
            Unflatten(20, 14),
            TransposedConvolution(20, 1, 5, stride=2, crop=(1, 2)),
            Flatten(),
            SIGMOID,
        ],
    ),
    "conv-deep": (
        [
            *(Convolution(1, 10, 5, padding=(2, 2)), RELU, MaxPooling(2)),
            *(Convolution(10, 20, 5, padding=(2, 2)), RELU, MaxPooling(2)),
            *(Convolution(20, 50, 3, padding=(1, 1)), RELU, MaxPooling(2)),
            *(Flatten(), Dense(50 * 3 * 3, 100), RELU),
        ],
        [
            *(Dense(100, 50 * 3 * 3), RELU, Unflatten(50, 3)),
            *(TransposedConvolution(50, 20, 3, stride=2, crop=(0, 0)), RELU),
            *(TransposedConvolution(20, 10, 5, stride=2, crop=(1, 2)), RELU),
            *(TransposedConvolution(10, 1, 5, stride=2, crop=(1, 2)), Flatten(), SIGMOID),
        ],
    ),
}

PARAMETERS = {
    "shallow": 314_584,  # 784 * 200 + 200 + 200 * 784 + 784
    "deep": 1_028_394,
    "randomized-shallow": 784_000,  # 2 * 784 * 500
    "randomized-deep": 2_077_600,  # 2 * (784 * 700 + 700 * 700)
    "conv-shallow": 789_041,  # 520 + 392_100 + 395_920 + 501
    "conv-deep": 119_161,
}


def parameters(architecture) -> int:
    return sum(math.prod(shape) for shape in parameter_shapes(architecture).values())


@pytest.mark.parametrize("name", LAYERS)
def test_an_architecture_lists_its_layers(name):
    encoder, decoder = LAYERS[name]
    assert ARCHITECTURES[name].encoder_layers() == encoder
    assert ARCHITECTURES[name].decoder_layers() == decoder


def test_an_odd_pixel_of_padding_or_cropping_comes_last():
    even = Convolutional(filters=(3,), kernel_sizes=(4,), pool_every=0)
    assert even.encoder_layers()[0] == Convolution(1, 3, 4, padding=(1, 2))
    assert even.decoder_layers()[3] == TransposedConvolution(3, 1, 4, crop=(1, 2))
    strided = Convolutional(filters=(3,), kernel_sizes=(5,), strides=(2,), pool_every=0)
    assert strided.encoder_layers()[0] == Convolution(1, 3, 5, stride=2, padding=(1, 2))
    assert strided.decoder_layers()[3] == TransposedConvolution(3, 1, 5, stride=2, crop=(1, 2))


def test_there_are_six_architectures_of_known_size():
    assert {name: parameters(architecture) for name, architecture in ARCHITECTURES.items()} == PARAMETERS
    assert ARCHITECTURES.keys() == LAYERS.keys()


def test_parameters_are_named_by_their_place_in_the_reference_layout():
    assert list(parameter_shapes(ARCHITECTURES["conv-shallow"]).items()) == [
        ("encoder.0.weight", (20, 1, 5, 5)),
        ("encoder.0.bias", (20,)),
        ("encoder.4.weight", (100, 3920)),
        ("encoder.4.bias", (100,)),
        ("decoder.0.weight", (3920, 100)),
        ("decoder.0.bias", (3920,)),
        ("decoder.3.weight", (20, 1, 5, 5)),
        ("decoder.3.bias", (1,)),
    ]


def test_hidden_code_and_output_activations_have_their_own_places():
    model = FullyConnected(
        widths=(9, 5, 3), hidden_activation="silu", code_activation="linear", output_activation="tanh"
    )
    assert model.encoder_layers()[1::2] == [Activation("silu"), Activation("linear")]
    assert model.decoder_layers()[1::2] == [Activation("silu"), Activation("tanh")]
    convolutional = Convolutional(hidden_activation="silu", code_activation="linear", output_activation="tanh")
    assert [layer.name for layer in convolutional.encoder_layers() if isinstance(layer, Activation)] == [
        "silu",
        "linear",
    ]
    assert [layer.name for layer in convolutional.decoder_layers() if isinstance(layer, Activation)] == [
        "silu",
        "tanh",
    ]


def test_a_tied_decoder_keeps_only_its_biases():
    untied, tied = FullyConnected(widths=(9, 5, 3)), FullyConnected(widths=(9, 5, 3), tied=True)
    assert tied.encoder_layers() == untied.encoder_layers()
    assert tied.decoder_layers() == untied.decoder_layers()
    assert parameters(untied) - parameters(tied) == 9 * 5 + 5 * 3
    assert [name for name in parameter_shapes(tied) if name.startswith("decoder")] == [
        "decoder.0.bias",
        "decoder.2.bias",
    ]
    assert parameters(replace(tied, bias=False)) == 9 * 5 + 5 * 3


KERNELS = [(5,), (4,), (1,), (5, 4), (2, 3), (4, 4), (3, 2, 1)]
KERNELS_FOR_7 = [(7,), (5,), (4,), (1,), (5, 3), (4, 2)]  # pooled, 7 pixels become 3
RESTORED = [(side, kernels) for side in (28, 27, 32, 13) for kernels in KERNELS]
RESTORED += [(7, kernels) for kernels in KERNELS_FOR_7]


def output_of_ones(model: Convolutional) -> np.ndarray:
    """(2, P): what comes out if all inputs and weights are 1 and all biases 0."""
    shapes = parameter_shapes(model).items()
    weights = {name: np.full(shape, float(name.endswith("weight"))) for name, shape in shapes}
    return Oracle(model, weights).activations(np.ones((2, model.side**2)))["output"]


def linear_model(side: int, kernel_sizes: tuple[int, ...], pool_every: int) -> Convolutional:
    return Convolutional(
        side=side,
        filters=tuple(range(2, 2 + len(kernel_sizes))),
        kernel_sizes=kernel_sizes,
        pool_every=pool_every,
        code_width=3,
        output_activation="linear",
    )


@pytest.mark.parametrize("pool_every", [0, 1, 2])
@pytest.mark.parametrize(("side", "kernel_sizes"), RESTORED)
def test_a_convolutional_model_returns_every_pixel(side, kernel_sizes, pool_every):
    """The output has the input's side, and no pixel of it is 0, as one that no kernel reaches would be."""
    output = output_of_ones(linear_model(side, kernel_sizes, pool_every))
    assert output.shape == (2, side * side)
    assert output.min() > 0


def test_a_decoder_whose_kernels_do_not_grow_would_lose_the_odd_row(monkeypatch):
    def mirrored(inputs, outputs, *, kernel, stride, sides):
        return TransposedConvolution(inputs, outputs, kernel, stride)

    monkeypatch.setattr("core_torch.spec.architecture._restoring_convolution", mirrored)
    assert output_of_ones(linear_model(28, (2,), 1)).shape == (2, 28 * 28)
    assert output_of_ones(linear_model(27, (2,), 1)).shape == (2, 26 * 26)


@pytest.mark.parametrize(
    ("side", "kernel_sizes", "strides", "pool_every", "code_side"),
    [
        (28, (5,), (2,), 0, 14),
        (28, (4, 3), (2, 2), 0, 7),
        (27, (3, 3), (2, 1), 0, 13),
        (27, (3, 4), (2, 3), 0, 4),
        (13, (5,), (3,), 0, 4),
        (32, (5, 3), (2, 1), 1, 4),
        (27, (4, 4), (3, 2), 2, 2),
        (7, (7,), (7,), 0, 1),
    ],
)
def test_a_strided_model_returns_every_pixel(side, kernel_sizes, strides, pool_every, code_side):
    model = replace(linear_model(side, kernel_sizes, pool_every), strides=strides)
    flat = next(layer.inputs for layer in model.encoder_layers() if isinstance(layer, Dense))
    assert flat == model.filters[-1] * code_side**2
    output = output_of_ones(model)
    assert output.shape == (2, side * side)
    assert output.min() > 0


@pytest.mark.parametrize("pool_every", [0, 1, 2])
def test_the_decoder_retraces_the_encoders_sides(pool_every):
    model = Convolutional(side=27, filters=(2, 3, 4), kernel_sizes=(4, 5, 2), pool_every=pool_every, code_width=5)
    oracle = Oracle(model, initial_weights(model))
    record = oracle.activations(np.zeros((1, 27 * 27)))

    def sides(kind, part):
        return [
            record[name].shape[-1] for name, layer in oracle.layers if isinstance(layer, kind) and name.startswith(part)
        ]

    into = [27, *(record[name].shape[-1] for name, layer in oracle.layers if isinstance(layer, Flatten))]
    pooled = {0: [27, 27, 27], 1: [13, 6, 3], 2: [27, 13, 13]}[pool_every]
    assert sides(Unflatten, "decoder") == pooled[-1:]
    assert sides(TransposedConvolution, "decoder") == [*pooled[-2::-1], 27]
    assert sides(Convolution, "encoder") == [27, *pooled[:-1]]
    assert into[1] == 4 * pooled[-1] ** 2


WRONG = [
    (FullyConnected, "widths", (784,)),
    (FullyConnected, "widths", ()),
    (FullyConnected, "widths", 784),
    (FullyConnected, "widths", None),
    (FullyConnected, "widths", "784"),
    (FullyConnected, "widths", map(int, "73")),
    (FullyConnected, "widths", (784, 0)),
    (FullyConnected, "widths", (784, -1)),
    (FullyConnected, "widths", (784, 2.0)),
    (FullyConnected, "widths", (784, True)),
    (FullyConnected, "widths", (784, "10")),
    (FullyConnected, "hidden_activation", "gelu"),
    (FullyConnected, "hidden_activation", ["relu"]),
    (FullyConnected, "bias", "no"),
    (FullyConnected, "tied", 1),
    (FullyConnected, "code_activation", None),
    (FullyConnected, "output_activation", "Sigmoid"),
    (Convolutional, "side", 0),
    (Convolutional, "side", 28.0),
    (Convolutional, "channels", 0),
    (Convolutional, "channels", "1"),
    (Convolutional, "filters", ()),
    (Convolutional, "filters", (0,)),
    (Convolutional, "filters", 20),
    (Convolutional, "kernel_sizes", ()),
    (Convolutional, "kernel_sizes", (0,)),
    (Convolutional, "kernel_sizes", (29,)),
    (Convolutional, "kernel_sizes", (5, 5)),
    (Convolutional, "strides", (0,)),
    (Convolutional, "strides", (6,)),
    (Convolutional, "strides", (1, 1)),
    (Convolutional, "strides", 2),
    (Convolutional, "pool_every", -1),
    (Convolutional, "pool_every", None),
    (Convolutional, "code_width", 0),
    (Convolutional, "code_width", True),
    (Convolutional, "hidden_activation", ""),
    (Convolutional, "code_activation", 1),
    (Convolutional, "output_activation", "sigmoidal"),
]


@pytest.mark.parametrize(("kind", "name", "value"), WRONG)
def test_a_wrong_argument_is_named_with_what_is_allowed(kind, name, value):
    with pytest.raises(ConfigError, match=rf"^{name}(\[\d\])?: found .*, allowed: ") as caught:
        kind(**{name: value})
    assert len(str(caught.value).splitlines()) == 1


def test_what_would_not_fit_the_image_is_refused():
    with pytest.raises(ConfigError, match=r"kernel_sizes\[1\]: found 5, allowed: at most .* 3"):
        Convolutional(side=7, filters=(2, 2), kernel_sizes=(5, 5))
    with pytest.raises(ConfigError, match="pool_every: found 1, which pools a side of 1 pixel to 0"):
        Convolutional(side=2, filters=(2, 2), kernel_sizes=(1, 1))


def test_an_architecture_is_a_frozen_value():
    assert FullyConnected(widths=[9, 3]) == FullyConnected(widths=(9, 3))
    assert hash(Convolutional(filters=[20], kernel_sizes=[5], strides=[])) == hash(Convolutional())
    with pytest.raises(FrozenInstanceError):
        ARCHITECTURES["shallow"].bias = False


def test_an_architecture_is_had_by_name_with_changes():
    assert architecture_named("deep") is not None
    assert architecture_named("shallow", widths=(784, 32)) == FullyConnected(widths=(784, 32))
    assert architecture_named("conv-deep").input_shape == (1, 28, 28)
    assert architecture_named("deep").input_shape == (784,)
    assert {name: model.code_width for name, model in ARCHITECTURES.items()} == {
        "shallow": 200,
        "deep": 10,
        "randomized-shallow": 500,
        "randomized-deep": 700,
        "conv-shallow": 100,
        "conv-deep": 100,
    }
    with pytest.raises(ConfigError, match=r"model: found 'conv_deep' \(did you mean conv-deep\?\), allowed: shallow, "):
        architecture_named("conv_deep")
    with pytest.raises(ConfigError, match="^widths: found 1 values"):
        architecture_named("shallow", widths=(784,))
    with pytest.raises(ConfigError, match="^model: found "):
        architecture_named(["shallow"])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_survives_its_description_in_json(name):
    model = ARCHITECTURES[name]
    assert architecture_from(json.loads(json.dumps(describe(model)))) == model


@pytest.mark.parametrize(
    ("description", "named"),
    [
        (None, "architecture"),
        ([], "architecture"),
        ({}, "architecture kind"),
        ({"kind": ["FullyConnected"]}, "architecture kind"),
        ({"kind": "FulyConnected"}, "architecture kind"),
        ({"kind": "FullyConnected", "width": [9, 3]}, "architecture field"),
        ({"kind": "FullyConnected", "filters": [3]}, "architecture field"),
        ({"kind": "FullyConnected", "widths": [9, "3"]}, r"widths\[1\]"),
        ({"kind": "FullyConnected", "widths": {"9": 3}}, "widths"),
        ({"kind": "FullyConnected", "bias": "false"}, "bias"),
        ({"kind": "Convolutional", "side": None}, "side"),
    ],
)
def test_a_description_that_was_never_written_is_refused(description, named):
    with pytest.raises(ConfigError, match=f"^{named}: found "):
        architecture_from(description)
