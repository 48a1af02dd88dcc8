"""Loss and gradients of the recipe's objective, by the chain rule over a `NumpyNetwork`."""

import numpy as np

from core_torch.parity.candidate import Arrays
from core_torch.parity.right_ports.network import NumpyNetwork, Place
from core_torch.spec.layers import Activation


def loss_and_gradients(
    network: NumpyNetwork, weights: Arrays, inputs: np.ndarray, targets: np.ndarray, *, contraction: float
) -> tuple[float, Arrays]:
    """Squared error averaged over images and pixels, plus `contraction` times the mean ||J||_F^2 of the encoder."""
    outputs = network.forward(weights, inputs)
    error = outputs[-1] - targets
    loss = network.arithmetic.total((error * error).ravel()) / error.dtype.type(error.size)
    gradients = {name: np.zeros_like(value) for name, value in weights.items()}
    _pull_through(network, network.layers, weights, outputs, error * error.dtype.type(2 / error.size), gradients)
    if contraction:
        scale = error.dtype.type(contraction / len(inputs))
        loss += scale * _penalty(network, weights, outputs, scale, gradients)
    return float(loss), gradients


def _pull_through(
    network: NumpyNetwork,
    layers: list[Place],
    weights: Arrays,
    outputs: list[np.ndarray],
    above: np.ndarray,
    gradients: Arrays,
) -> None:
    """Carry a gradient from the output of `layers` to their input; add up what it leaves in the weights."""
    for place, x in reversed(list(zip(layers, outputs))):
        _add(gradients, network.own_gradients(place, x, above))
        above = network.pull(place, weights, x, above)


def _penalty(
    network: NumpyNetwork, weights: Arrays, outputs: list[np.ndarray], scale: np.floating, gradients: Arrays
) -> np.floating:
    """Sum of ||J||_F^2 over the images; adds its gradient, times `scale`.

    A row of J is a pull from a code unit to the input, linear in the weights. So the gradient of its squared norm is
    a push of twice the row, and for curved activations a term in their own inputs.
    """
    stages = list(zip(network.encoder, outputs))
    batch, code_width = outputs[len(stages)].shape
    bends = {name: np.zeros_like(x) for (name, layer), x in stages if isinstance(layer, Activation)}
    squares = outputs[0].dtype.type(0)
    for unit in range(code_width):
        above = np.zeros((batch, code_width), outputs[0].dtype)
        above[:, unit] = 1
        rows = [above]
        for place, x in reversed(stages):
            rows.insert(0, network.pull(place, weights, x, rows[0]))
        squares += network.arithmetic.total((rows[0] * rows[0]).ravel())
        change = 2 * scale * rows[0]
        for (place, x), row in zip(stages, rows[1:]):
            name, layer = place
            if isinstance(layer, Activation):
                bends[name] += change * row * network.curves[layer.name].bend(x)
            _add(gradients, network.own_gradients(place, change, row, bias=False))
            change = network.push(place, weights, x, change)
    for index, ((name, _), _) in enumerate(stages):
        if name in bends:
            _pull_through(network, network.encoder[:index], weights, outputs, bends[name], gradients)
    result: np.floating = squares
    return result


def _add(gradients: Arrays, found: Arrays) -> None:
    for name, value in found.items():
        gradients[name] = gradients[name] + value
