"""What all frameworks agree on. Standard library and NumPy only: importing it loads no framework."""
