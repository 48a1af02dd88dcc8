"""Deliver batches in every way that is timed."""
