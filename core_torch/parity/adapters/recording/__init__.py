"""Record a reference from a PyTorch model: the truth, the budget, and what known bugs would answer."""
