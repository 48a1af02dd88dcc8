"""The Keras port against the float64 oracle on every backend, each in its own process.

Run as a script, this file is that process: it reads problem.npz files from a folder and writes what Keras made of
them beside. The parent, which imports no framework, judges.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.agreement import (
    Judge,
    Problem,
    Trace,
    build_problem,
    distances,
    relative_distance,
    trace_of,
)
from benchmarks.tolerances import EPOCH, LEVELS, tolerance
from core_torch.contract.architecture import Architecture, Convolutional, FullyConnected, parameter_shapes
from core_torch.contract.batch_order import batch_order
from core_torch.contract.initial_weights import initial_weights
from core_torch.contract.oracle import Oracle
from core_torch.contract.pixels import Split, load_split, to_unit_range
from core_torch.contract.recipe import Recipe

ROOT = Path(__file__).parents[2]
BACKENDS = ("tensorflow", "jax", "torch")
