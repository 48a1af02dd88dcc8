"""Compute the autoencoders in plain NumPy: the judge of every framework."""
