"""Parts: packed tensors are compared part by part, because an error in a small part is lost in the whole.

The query, key and value projections of attention are one tensor in PyTorch, and so are the gates of an LSTM or GRU.
"""

from collections.abc import Mapping

import numpy as np

from core_torch.parity.recorded.measures import group_of
from core_torch.parity.recorded.questions import Trace

PACKED_KINDS = ("gradient", "first", "update", "state")


def split_parts(trace: Mapping[str, np.ndarray], parts: Mapping[str, list[str]]) -> Trace:
    """Replace each packed tensor by its parts, which have equal shares of the first axis.

    Args:
        parts: {parameter: names of its parts}, for instance {"attention.in_proj_weight": ["query", "key", "value"]}.
    """
    split: Trace = {}
    for key, value in trace.items():
        group, step = group_of(key), key.rpartition("@")[2]
        name = group.name.partition("/")[2] if group.kind == "state" else group.name
        labels = parts.get(name, []) if group.kind in PACKED_KINDS else []
        array = np.asarray(value)
        if labels and array.ndim and len(array) % len(labels) == 0:
            for label, share in zip(labels, np.split(array, len(labels)), strict=True):
                split[f"{group.key}[{label}]@{step}"] = share
        else:
            split[key] = array
    return split
