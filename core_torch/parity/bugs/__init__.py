"""Compute, in NumPy, what ports with known bugs compute."""
