"""Run the commands of `python -m core_torch`."""
