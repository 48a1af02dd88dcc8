"""A device has the same names in every port and is refused by the same line."""

import os
import sys

import pytest
import torch

from core_torch.data.device import choose_device
from core_torch.spec.devices import parse_device
from core_torch.spec.errors import ConfigError
from keras_impl import options

PRESENT = ("auto", "cpu", "cpu:0")
UNKNOWN = ("gpu", "", "cpu:1", "cuda:", "cuda:x", "cuda:-1", "cuda:01", "cuda:99999", "auto:0", "CPU", "cuda 0", "meta")
ABSENT = ("cuda", "cuda:0", "cuda:7")
VARIABLES = ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS", "KERAS_TORCH_DEVICE")


def core_torch(name: str, monkeypatch) -> str:
    return choose_device(name).type


def keras(name: str, monkeypatch) -> str:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    options.choose_device(name, backend="torch")
    return "cpu" if os.environ.get("KERAS_TORCH_DEVICE") == "cpu" or not torch.cuda.is_available() else "cuda"


def lightning(name: str, monkeypatch) -> str:
    pytest.importorskip("lightning")
    from lightning_impl.commands import Command

    monkeypatch.setattr(sys, "argv", ["lightning_impl", "fit", "--device", name, "--trainer.fast_dev_run", "true"])
    return Command(program="lightning_impl").trainer.strategy.root_device.type


PORTS = pytest.mark.parametrize("port", [core_torch, keras, lightning])


@PORTS
@pytest.mark.parametrize("name", PRESENT)
def test_a_name_means_the_same(port, name, monkeypatch):
    expected = "cuda" if name == "auto" and torch.cuda.is_available() else "cpu"
    assert port(name, monkeypatch) == expected


@PORTS
@pytest.mark.parametrize("name", UNKNOWN)
def test_a_name_that_no_machine_has_is_refused_alike(port, name, monkeypatch):
    with pytest.raises(ConfigError) as expected:
        parse_device(name)
    with pytest.raises(ConfigError) as found:
        port(name, monkeypatch)
    assert str(found.value) == str(expected.value)
    assert str(found.value).startswith("device: found")


@PORTS
@pytest.mark.parametrize("name", ABSENT)
@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_device_that_this_machine_lacks_is_refused(port, name, monkeypatch):
    with pytest.raises(ConfigError, match=f"^device: found {name}, allowed on this machine.*: auto, cpu$"):
        port(name, monkeypatch)


SEEN = [(None, "cuda:1", "1"), ("4,6", "cuda:1", "6"), ("4", "cuda:1", ""), ("4,6", "cuda", "4,6")]


@pytest.mark.parametrize(("visible", "name", "expected"), SEEN)
def test_keras_sees_the_gpu_that_was_named_and_no_other(visible, name, expected, monkeypatch):
    monkeypatch.setattr(options, "_finds_gpu", lambda backend: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    options.choose_device(name, backend="jax")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
