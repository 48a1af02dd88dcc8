"""Published tables, run again: what was claimed, what comes out here, and how far apart they are.

A file a table. `python -m benchmarks reproduce` runs those that are named, `python -m benchmarks tables` prints stored
runs as Markdown.
"""

# {table: its module in this package}, in the order of the page
TABLES = {
    "categories": "categories",
    "deep": "deep",
    "momentum": "momentum",
    "contractive": "contractive",
    "denoising": "denoising",
    "extreme-learning": "extreme_learning",
    "convolutional": "convolutional",
    "ports": "ports",
}
