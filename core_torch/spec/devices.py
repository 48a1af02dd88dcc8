"""Names of devices, the same in every port and command: `auto`, `cpu`, `cuda`, or one of several, such as `cuda:1`."""

import re
from typing import NamedTuple

from core_torch.spec.errors import ConfigError, check_choice

DEVICES = ("auto", "cpu", "cuda")
NUMBER = re.compile(r"0|[1-9][0-9]{0,3}")


class Device(NamedTuple):
    """One device, or `auto`."""

    kind: str  # one of DEVICES
    number: int | None = None  # which of several; None: as the framework chooses


def parse_device(name: str) -> Device:
    """Read a device's name; whether this machine has it, only a framework knows.

    Raises:
        ConfigError: no machine has a device of that name.
    """
    kind, colon, number = name.partition(":")
    check_choice("device", kind, DEVICES)
    if not colon:
        return Device(kind)
    if not NUMBER.fullmatch(number) or kind == "auto" or (kind == "cpu" and number != "0"):  # there is one CPU
        raise ConfigError(f"device: found {name}, allowed: auto, cpu, cpu:0, cuda, cuda:0, cuda:1, ...")
    return Device(kind, int(number))
