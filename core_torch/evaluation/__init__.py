"""How well it was minimised."""
