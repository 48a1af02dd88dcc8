"""The emphasised denoising error, and the doors that refuse what no model can take."""

import gc

import numpy as np
import pytest
import torch

from core_torch import ContractiveLoss, EmphasizedError, ResidentDataset, build_autoencoder
from core_torch.files.splits import load_split
from core_torch.spec.architecture import FullyConnected, architecture_named
from core_torch.spec.errors import ConfigError

SMALL = FullyConnected(widths=(4, 3))


def test_damaged_pixels_weigh_alpha_and_the_rest_beta():
    model = build_autoencoder(SMALL)
    criterion = EmphasizedError(model, damaged=3.0, rest=0.5)
    clean = torch.tensor([[0.2, 0.4, 0.6, 0.8]])
    damaged = torch.tensor([[0.2, 0.0, 0.6, 0.0]])
    output = model(damaged)
    squares = (output - clean).square()[0]
    expected = (0.5 * squares[0] + 3 * squares[1] + 0.5 * squares[2] + 3 * squares[3]) / 4
    torch.testing.assert_close(criterion(output, clean), expected)
    assert not torch.isclose(criterion(output, clean), squares.mean())


def test_equal_weights_are_the_mean_squared_error():
    model = build_autoencoder(SMALL)
    criterion = EmphasizedError(model, damaged=1.0, rest=1.0)
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(criterion(model(x * 0.5), x), torch.nn.functional.mse_loss(model(x * 0.5), x))


@pytest.mark.parametrize("kind", [EmphasizedError, ContractiveLoss])
def test_a_criterion_without_a_forward_pass_is_refused_and_leaves_no_hook_behind(kind):
    model = build_autoencoder(SMALL)
    criterion = kind(model)
    with pytest.raises(ConfigError, match="call the model first"):
        criterion(torch.zeros(2, 4), torch.zeros(2, 4))
    assert len(model._forward_pre_hooks) == 1
    del criterion
    gc.collect()
    assert len(model._forward_pre_hooks) == 0


@pytest.mark.parametrize("model", ["shallow", "conv-deep"])
@pytest.mark.parametrize("shape", [(2, 27, 28), (2, 785), (2, 3, 28, 28)])
def test_images_of_another_size_are_refused_by_name(model, shape):
    with pytest.raises(ConfigError, match="x: found images of shape"):
        build_autoencoder(architecture_named(model)).encode(torch.zeros(shape))


def test_data_that_are_not_finite_are_refused():
    images = torch.rand(3, 1, 28, 28)
    images[1, 0, 5, 5] = float("nan")
    dataset = ResidentDataset(load_split("digits").take(np.arange(3)))
    with pytest.raises(ConfigError, match="data: found a pixel that is not finite"):
        dataset._place(images, dataset.labels, device="cpu", residency="float32")
