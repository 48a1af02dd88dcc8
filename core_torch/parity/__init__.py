"""Agreement between implementations: problems, traces, a judge, golden traces, and `assert_parity` for anybody's tests.

Needs NumPy and safetensors; frameworks run in processes of their own. Names load on first use, so that importing the
pytest plugin starts nothing.

.. include:: traps.md
"""

from importlib import import_module
from typing import Any

_HOME = {
    "GOLDEN": "core_torch.parity.golden_traces",
    "Candidate": "core_torch.parity.candidate",
    "Check": "core_torch.parity.judge",
    "Judge": "core_torch.parity.judge",
    "Problem": "core_torch.parity.problem",
    "Trace": "core_torch.parity.trace",
    "agree": "core_torch.parity.judge",
    "assert_parity": "core_torch.parity.assertion",
    "compare_traces": "core_torch.parity.judge",
    "explain": "core_torch.parity.diagnosis",
    "from_channels_last": "core_torch.spec.channels_last",
    "golden": "core_torch.parity.golden_traces",
    "load_trace": "core_torch.parity.trace",
    "open_worker": "core_torch.parity.assertion",
    "record_trace": "core_torch.parity.trace",
    "save_trace": "core_torch.parity.trace",
    "to_channels_last": "core_torch.spec.channels_last",
}
# The canonical layout is the reference's.
_ALIASES = {"to_canonical": "from_channels_last", "from_canonical": "to_channels_last"}
__all__ = sorted([*_HOME, *_ALIASES])


def __getattr__(name: str) -> Any:
    wanted = _ALIASES.get(name, name)
    if wanted not in _HOME:
        raise AttributeError(f"module 'core_torch.parity' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(_HOME[wanted]), wanted)
    return value
