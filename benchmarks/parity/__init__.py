"""Agreement between implementations: problems, traces, a judge, golden traces, and `assert_parity` for anybody's tests.

Needs NumPy and nothing else; frameworks run in processes of their own.
"""

from benchmarks.parity.assertion import assert_parity, opened
from benchmarks.parity.diagnosis import explain
from benchmarks.parity.golden import GOLDEN, golden
from benchmarks.parity.judge import Check, Judge, agree, compare_traces
from benchmarks.parity.problem import Problem
from benchmarks.parity.trace import Trace, load_trace, record_trace, save_trace
from benchmarks.trial import Candidate
from core_torch.contract.channels_last import from_channels_last as to_canonical
from core_torch.contract.channels_last import to_channels_last as from_canonical

__all__ = [
    "GOLDEN",
    "Candidate",
    "Check",
    "Judge",
    "Problem",
    "Trace",
    "agree",
    "assert_parity",
    "compare_traces",
    "explain",
    "from_canonical",
    "golden",
    "load_trace",
    "opened",
    "record_trace",
    "save_trace",
    "to_canonical",
]
