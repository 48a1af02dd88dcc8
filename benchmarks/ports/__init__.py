"""Run each framework's side of a case in a process of its own."""
