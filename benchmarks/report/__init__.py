"""Store results, compare them and show them."""
