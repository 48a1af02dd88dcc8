"""For every test: one thread, and triton before TensorFlow.

Two threads on two busy cores can cost ten times. With TensorFlow before triton their LLVMs clash and the process
dies; torch's optimizers, torchvision and Lightning load triton sooner or later, so no test can rule it out.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # read when NumPy or torch is first imported, here and in subprocesses


class TritonBeforeTensorFlow:
    """An import hook that finds nothing; asked for tensorflow, it loads triton where that is installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Called at the first import of each module."""
        if name == "tensorflow":
            with suppress(ImportError):
                import_module("triton")


sys.meta_path.insert(0, TritonBeforeTensorFlow)
