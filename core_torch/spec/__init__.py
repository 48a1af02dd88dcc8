"""Define what all frameworks agree on, with NumPy only."""
