"""For every test: triton loads before TensorFlow. In the other order their LLVMs clash and the process dies.

torch's optimizers, torchvision and Lightning load triton sooner or later, so no test can rule it out.
"""

import sys
from contextlib import suppress
from importlib import import_module


class TritonBeforeTensorFlow:
    """An import hook that finds nothing; asked for tensorflow, it loads triton where that is installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Called at the first import of each module."""
        if name == "tensorflow":
            with suppress(ImportError):
                import_module("triton")


sys.meta_path.insert(0, TritonBeforeTensorFlow)
