"""Hold an implementation against a reference that was recorded from anybody's PyTorch model, with NumPy only.

`core_torch.parity.record` makes a `Reference`; it alone needs torch. Reading, checking and diagnosing do not.
"""
