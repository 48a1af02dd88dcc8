"""The PyTorch reference. Public names load on first use: `import core_torch.spec` never loads torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
