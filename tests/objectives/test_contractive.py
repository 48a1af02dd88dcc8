"""The contractive penalty is the squared norm of the encoder's Jacobian: in value, mean and gradient."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.func import functional_call

from core_torch.data.resident import ResidentDataset
from core_torch.evaluation.jacobian import code_variance, mean_jacobian_norm_squared
from core_torch.files.metrics import scale_free_norm
from core_torch.files.splits import load_split
from core_torch.models.autoencoder import Autoencoder, build_autoencoder, to_reference_weights
from core_torch.objectives.contractive import ContractiveLoss
from core_torch.objectives.jacobian import (
    dense_norm_squared,
    encoder_jacobian,
    hutchinson_norm_squared,
    jacobian_norm_squared,
    reverse_norm_squared,
    weight_product_norm,
)
from core_torch.parity.oracle.oracle import Oracle
from core_torch.spec.architecture import ARCHITECTURES, Architecture, Convolutional, FullyConnected
from core_torch.spec.errors import ConfigError
from core_torch.spec.layers import ACTIVATIONS
from core_torch.spec.recipe import Recipe
from core_torch.training.loop import train

STEP = 1e-4  # of finite differences, in pixel units: truncation ~ STEP^4, rounding ~ 1e-17 / STEP
SMALLER_STEP = 3e-6  # for 784 pixels under many maxima, so that none switches on the way
SMALL = {
    "one layer": FullyConnected(widths=(9, 5)),
    "deep": FullyConnected(widths=(9, 7, 6, 3)),
    "tied": FullyConnected(widths=(9, 5), tied=True),
    "deep, tied": FullyConnected(widths=(9, 7, 4), tied=True),
    "convolutional": Convolutional(side=7, filters=(2, 3), kernel_sizes=(3, 2), code_width=4),
    "strided": Convolutional(side=7, filters=(3,), kernel_sizes=(3,), strides=(2,), pool_every=0, code_width=4),
}
FULL = {
    **ARCHITECTURES,
    "tied": replace(ARCHITECTURES["shallow"], tied=True),
    "deep, tied": replace(ARCHITECTURES["deep"], tied=True),
}


def build(architecture: Architecture, *, scale: float = 4.0) -> Autoencoder:
    """In float64, its weights enlarged so that activations bend."""
    model = build_autoencoder(architecture, seed=1).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= scale
    return model


def images(model: Autoencoder, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.rand(count, *model.architecture.input_shape, generator=generator, dtype=torch.float64)


@torch.no_grad()
def finite_difference_norm_squared(model: Autoencoder, x: torch.Tensor, *, step: float = STEP):
    """(N,) from the forward pass alone: f' = (8 (f(+h) - f(-h)) - (f(+2h) - f(-2h))) / 12 h per pixel."""

    def change(image: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return model.encode(image + steps) - model.encode(image - steps)

    def norm(image: torch.Tensor) -> torch.Tensor:
        steps = step * torch.eye(image.numel(), dtype=image.dtype).view(-1, *image.shape)
        columns = [8 * change(image, part) - change(image, 2 * part) for part in steps.split(49)]
        return (torch.cat(columns) / (12 * step)).square().sum()

    return torch.stack([norm(image) for image in x])


def agree(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", FULL)
def test_the_exact_norm_is_that_of_finite_differences_in_every_architecture(name):
    model = build(FULL[name], scale=1)
    x = images(model, 1)
    exact = jacobian_norm_squared(model, x).detach()
    assert agree(exact, reverse_norm_squared(model, x).detach())
    step = STEP if isinstance(model.architecture, FullyConnected) else SMALLER_STEP
    assert agree(exact, finite_difference_norm_squared(model, x, step=step))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", SMALL)
def test_the_exact_norm_is_that_of_finite_differences_for_every_activation(name, activation):
    model = build(replace(SMALL[name], hidden_activation=activation, code_activation=activation))
    x = images(model, 5)
    exact = jacobian_norm_squared(model, x).detach()
    assert agree(exact, reverse_norm_squared(model, x).detach())
    assert agree(exact, finite_difference_norm_squared(model, x))


def test_a_penalty_that_is_not_squared_or_has_no_slopes_is_found_out():
    model = build(replace(SMALL["one layer"], code_activation="sigmoid"))
    x = images(model, 5)
    truth = finite_difference_norm_squared(model, x)
    without_slopes = model.encoder[0].weight.detach().square().sum().expand(5)
    assert agree(dense_norm_squared(model, x).detach(), truth)
    assert not agree(dense_norm_squared(model, x).detach().sqrt(), truth)
    assert not agree(without_slopes, truth)
    assert not agree(weight_product_norm(model).detach().expand(5), truth)


@pytest.mark.parametrize("name", SMALL)
def test_one_probe_is_right_on_average(name):
    model = build(replace(SMALL[name], hidden_activation="tanh", code_activation="silu"))
    x = images(model, 1)
    probes = 4000
    draws = hutchinson_norm_squared(
        model, x.expand(probes, *x.shape[1:]), generator=torch.Generator().manual_seed(0)
    ).detach()
    exact = float(jacobian_norm_squared(model, x).detach())
    standard_error = float(draws.std()) / probes**0.5
    assert standard_error > 0
    assert abs(float(draws.mean()) - exact) < 4 * standard_error
    assert abs(float(draws.mean()) * 1.5 - exact) > 4 * standard_error  # the twin: a wrong factor shows


class Penalty(torch.nn.Module):
    """The penalty as a module, so that its weights can be handed in; the same probe at every call."""

    def __init__(self, model: Autoencoder, estimator: str) -> None:
        super().__init__()
        self.model, self.estimator = model, estimator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return jacobian_norm_squared(self.model, x, estimator=self.estimator, generator=generator).mean()


@pytest.mark.parametrize("estimator", ["exact", "hutchinson"])
@pytest.mark.parametrize("name", SMALL)
def test_the_gradient_of_the_penalty_is_right_and_reaches_every_encoder_weight(name, estimator):
    architecture = replace(SMALL[name], hidden_activation="tanh", code_activation="sigmoid")
    penalty = Penalty(build(architecture), estimator)
    x = images(penalty.model, 2)
    encoder = {key: value for key, value in penalty.named_parameters() if key.startswith("model.encoder.")}

    def of_weights(*weights: torch.Tensor) -> torch.Tensor:
        return functional_call(penalty, dict(zip(encoder, weights)), x)

    weights = tuple(value.detach().requires_grad_() for value in encoder.values())
    assert torch.autograd.gradcheck(of_weights, weights)
    assert all(gradient.abs().max() > 0 for gradient in torch.autograd.grad(of_weights(*weights), weights))


@pytest.mark.parametrize("estimator", ["exact", "hutchinson"])
@pytest.mark.parametrize("name", SMALL)
def test_the_loss_and_its_gradient_are_the_oracle_s_where_the_estimator_is_exact(name, estimator):
    model = build(replace(SMALL[name], hidden_activation="tanh", code_activation="silu"))
    x = images(model, 3)
    criterion = ContractiveLoss(model, weight=0.5, estimator=estimator)
    loss = criterion(model(x), x.flatten(1).flip(0))
    found = dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, tuple(model.parameters()))))
    inputs = x.flatten(1).numpy()
    oracle = Oracle(model.architecture, to_reference_weights(model))
    expected_loss, expected = oracle.gradients(inputs, inputs[::-1], contraction=0.5)
    distances = {
        key: np.linalg.norm(found[key].numpy() - gradient) / np.linalg.norm(gradient)
        for key, gradient in expected.items()
    }
    assert found.keys() == distances.keys()
    if estimator == "exact":
        assert loss.item() == pytest.approx(expected_loss, rel=1e-12)
        assert max(distances.values()) < 1e-12
    else:
        assert max(distances.values()) > 1e-3


@pytest.mark.parametrize("widths", [(9, 5), (9, 7, 4)])
def test_the_penalty_of_a_linear_encoder_is_the_squared_norm_of_its_matrix(widths):
    model = build(FullyConnected(widths=widths, hidden_activation="linear", code_activation="linear"))
    matrix = np.eye(9)
    for layer in model.encoder[::2]:
        matrix = layer.weight.detach().numpy() @ matrix
    norm = np.linalg.norm(matrix)
    assert jacobian_norm_squared(model, images(model, 3)).tolist() == pytest.approx([norm**2] * 3, rel=1e-12)
    assert float(weight_product_norm(model).detach()) == pytest.approx(norm, rel=1e-12)


def test_the_originals_penalty_is_for_dense_encoders_and_blind_to_the_input():
    model = build(SMALL["deep"])
    product = np.linalg.multi_dot([layer.weight.detach().numpy() for layer in reversed(model.encoder[::2])])
    assert float(weight_product_norm(model).detach()) == pytest.approx(np.linalg.norm(product), rel=1e-12)
    with pytest.raises(ConfigError, match="weight_product_norm: .* dense"):
        weight_product_norm(build(SMALL["convolutional"]))


def test_rescaling_hides_the_penalty_of_untied_weights_but_not_the_scale_free_norm():
    factor = 10
    model = build_autoencoder(ARCHITECTURES["shallow"])
    dataset = ResidentDataset(load_split(train=False))
    x = dataset.data[:20]

    def ratio() -> float | None:
        return scale_free_norm(mean_jacobian_norm_squared(model, dataset), code_variance=code_variance(model, dataset))

    before = model(x).detach(), jacobian_norm_squared(model, x).detach(), ratio()
    with torch.no_grad():
        model.encoder[0].weight /= factor
        model.encoder[0].bias /= factor
        model.decoder[0].weight *= factor
    assert torch.allclose(model(x), before[0], atol=1e-6)
    assert torch.allclose(jacobian_norm_squared(model, x) * factor**2, before[1], rtol=1e-4)
    assert ratio() == pytest.approx(before[2], rel=1e-4)


def test_the_loss_reports_its_parts():
    model = build(SMALL["one layer"])
    criterion = ContractiveLoss(model, weight=0.3)
    x = images(model, 4)
    output, target = model(x), x.flip(0)
    total = criterion(output, target)
    error = (output - target).square().mean()
    assert criterion.reconstruction == pytest.approx(float(error.detach()), rel=1e-12)
    norm = finite_difference_norm_squared(model, x).mean()
    assert criterion.penalty == pytest.approx(float(norm), rel=1e-9)
    parts = criterion.reconstruction + 0.3 * criterion.penalty
    assert criterion.total == pytest.approx(float(parts), rel=1e-12)
    assert total == criterion.total
    assert total.requires_grad
    assert not criterion.penalty.requires_grad


def test_the_jacobian_is_taken_at_the_input_that_was_fed():
    model = build(replace(SMALL["one layer"], code_activation="sigmoid"))
    clean = images(model, 4)
    noisy = clean + 0.5
    criterion = ContractiveLoss(model)
    criterion(model(noisy), clean)
    there, elsewhere = (jacobian_norm_squared(model, x).mean().detach() for x in (noisy, clean))
    assert criterion.penalty == pytest.approx(float(there), rel=1e-12)
    assert criterion.penalty != pytest.approx(float(elsewhere), rel=1e-3)


def test_a_validation_error_holds_no_penalty():
    recipe = Recipe(objective="contractive", contraction=10.0, epochs=1)
    dataset = ResidentDataset(load_split())
    kept, held = dataset.subset(np.arange(200)), dataset.subset(np.arange(200, 260))
    model = build_autoencoder(ARCHITECTURES["shallow"])
    history = train(model, kept, recipe=recipe, validation=held, progress=False)
    with torch.no_grad():
        error = float((model(held.data) - held.targets).square().mean())
    assert history.validation_mse == [pytest.approx(error, rel=1e-5)]
    assert history.train_loss[0] > 10 * error


def test_the_hessian_term_is_the_change_of_the_jacobian_under_noise():
    model = build(replace(SMALL["one layer"], code_activation="sigmoid"))
    x = images(model, 4)
    criterion = ContractiveLoss(model, weight=0.3, hessian_weight=2.0, hessian_noise=0.1, seed=5)
    total = criterion(model(x), x)
    noise = torch.empty_like(x).normal_(0, 0.1, generator=torch.Generator().manual_seed(5))
    change = (encoder_jacobian(model, x) - encoder_jacobian(model, x + noise)).square().sum((1, 2)).mean()
    hessian = float(total.detach() - criterion.reconstruction - 0.3 * criterion.penalty)
    assert hessian == pytest.approx(2 * float(change.detach()), rel=1e-8)
    assert hessian > 0
    total.backward()
    linear = build(replace(SMALL["one layer"], code_activation="linear"))
    flat = ContractiveLoss(linear, weight=0, hessian_weight=2.0)
    assert float(flat(linear(x), x).detach()) == pytest.approx(float(flat.reconstruction), rel=1e-12)


def test_the_hessian_term_trains_a_model():
    model = build_autoencoder(replace(ARCHITECTURES["shallow"], code_activation="sigmoid", tied=True))
    dataset = ResidentDataset(load_split().take(np.arange(256)))
    criterion = ContractiveLoss(model, weight=1e-4, hessian_weight=1e-4)
    history = train(model, dataset, recipe=Recipe(epochs=3), criterion=criterion, progress=False)
    assert history.train_loss[-1] < history.train_loss[0]


def test_the_criterion_refuses_what_it_cannot_judge():
    model = build(SMALL["one layer"])
    x = images(model, 4)
    output = model(x)
    with pytest.raises(ConfigError, match="call the model first"):
        ContractiveLoss(model)(output, x)
    with pytest.raises(ConfigError, match="estimator: found 'exakt' .*exact"):
        ContractiveLoss(model, estimator="exakt")
    for name, value in {"weight": -1, "hessian_weight": float("nan"), "hessian_noise": 0}.items():
        with pytest.raises(ConfigError, match=f"^{name}: found {value}, allowed: a finite number"):
            ContractiveLoss(model, **{name: value})
    convolutional = build(SMALL["convolutional"])
    x = images(convolutional, 2)
    criterion = ContractiveLoss(convolutional, hessian_weight=1)
    with pytest.raises(ConfigError, match="hessian_weight: needs a dense encoder with one layer"):
        criterion(convolutional(x), x.flatten(1))
