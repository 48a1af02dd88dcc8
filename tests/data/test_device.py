"""The library that multiplies is chosen by what it takes, and only among those that are exact."""

import pytest
import torch

from core_torch.data import device
from core_torch.data.device import LARGEST_ERROR, measure_matmul, select_matmul_backend

EXACT, BFLOAT16 = 3e-7, 3e-3  # relative errors


@pytest.fixture(autouse=True)
def as_before():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("medium", "chosen"),
    [
        ((EXACT, 0.5), "medium"),
        ((BFLOAT16, 0.1), "highest"),
        ((EXACT, 0.95), "highest"),
        ((EXACT, 2.0), "highest"),
        ((float("nan"), 0.1), "highest"),
    ],
)
def test_the_faster_of_two_exact_ones_is_chosen(medium, chosen, monkeypatch):
    found = {"highest": (EXACT, 1.0), "medium": medium}
    monkeypatch.setattr(device, "measure_matmul", found.get)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_matmul_backend() == torch.get_float32_matmul_precision() == chosen


def test_beside_a_gpu_it_is_left_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "measure_matmul", lambda precision: pytest.fail("probed"))
    torch.set_float32_matmul_precision("high")
    assert select_matmul_backend() == "high"


def test_what_is_chosen_here_multiplies_in_float32():
    error, seconds = measure_matmul(select_matmul_backend())
    assert error <= LARGEST_ERROR
    assert seconds > 0


def test_bfloat16_would_be_given_away(monkeypatch):
    double, multiply = torch.double, torch.Tensor.__matmul__

    def rounded(left, right):
        return multiply(left, right) if left.dtype == double else multiply(left.bfloat16(), right.bfloat16()).float()

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert measure_matmul("highest")[0] > LARGEST_ERROR
