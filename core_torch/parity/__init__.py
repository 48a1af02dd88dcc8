"""Agreement between implementations: problems, traces, a judge, golden traces, and `assert_parity` for anybody's tests.

Needs NumPy and safetensors; frameworks run in processes of their own. Names load on first use, so that importing the
pytest plugin starts nothing.

.. include:: traps.md
"""

from importlib import import_module
from typing import Any

_HOME = {
    "GOLDEN": "benchmarks.parity.golden_traces",
    "Candidate": "benchmarks.trial",
    "Check": "benchmarks.parity.judge",
    "Judge": "benchmarks.parity.judge",
    "Problem": "benchmarks.parity.problem",
    "Trace": "benchmarks.parity.trace",
    "agree": "benchmarks.parity.judge",
    "assert_parity": "benchmarks.parity.assertion",
    "compare_traces": "benchmarks.parity.judge",
    "explain": "benchmarks.parity.diagnosis",
    "from_channels_last": "core_torch.contract.channels_last",
    "golden": "benchmarks.parity.golden_traces",
    "load_trace": "benchmarks.parity.trace",
    "opened": "benchmarks.parity.assertion",
    "record_trace": "benchmarks.parity.trace",
    "save_trace": "benchmarks.parity.trace",
    "to_channels_last": "core_torch.contract.channels_last",
}
# The canonical layout is the reference's.
_ALIASES = {"to_canonical": "from_channels_last", "from_canonical": "to_channels_last"}
__all__ = sorted([*_HOME, *_ALIASES])


def __getattr__(name: str) -> Any:
    wanted = _ALIASES.get(name, name)
    if wanted not in _HOME:
        raise AttributeError(f"module 'benchmarks.parity' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(_HOME[wanted]), wanted)
    return value
