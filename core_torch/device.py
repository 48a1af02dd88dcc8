"""Which device a command runs on."""

import torch

from core_torch.contract.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is a device, else the CPU.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # the meta device holds no value
    except (RuntimeError, AssertionError) as error:
        present = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise ConfigError(f"device: found {name}, allowed on this machine: auto, {present}") from error
    return device
