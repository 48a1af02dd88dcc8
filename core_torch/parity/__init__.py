"""Agreement between implementations: problems, traces, a judge, golden traces, and `assert_parity` for anybody's tests.

Needs NumPy and safetensors; frameworks run in processes of their own. Names load on first use, so that importing the
pytest plugin starts nothing.

.. include:: traps.md
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
