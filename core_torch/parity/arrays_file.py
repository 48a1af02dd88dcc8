"""Arrays as a safetensors file: how workers, in whatever language, exchange them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from core_torch.files.safe_reading import read_regular
from core_torch.spec.errors import DataFormatError


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """In C order: safetensors writes the raw memory of any other array, silently transposed."""
    path.write_bytes(save({name: np.array(value, order="C") for name, value in arrays.items()}))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays`, or another language's safetensors, wrote.

    Raises:
        DataFormatError: the file is missing, or is not safetensors.
    """
    try:
        return load(read_regular(path))
    except OSError as error:
        raise DataFormatError(f"{path.name}: cannot be read ({error.strerror})") from error
    except (SafetensorError, KeyError) as error:  # KeyError: a type that NumPy does not have
        raise DataFormatError(f"{path.name}: is not a safetensors file ({error})") from error
