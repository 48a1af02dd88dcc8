"""Name the two layouts of weights by their part in a comparison: the reference's is the canonical one."""

from core_torch.spec.channels_last import from_channels_last, to_channels_last

__all__ = ["from_canonical", "from_channels_last", "to_canonical", "to_channels_last"]

to_canonical = from_channels_last
from_canonical = to_channels_last
