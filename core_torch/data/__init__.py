"""Datasets that live on the device, and their corruption."""
