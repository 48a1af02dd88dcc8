"""Read and write everything that is on disk, with NumPy only."""
