"""One warm process of a Keras backend: it runs the `work` of one test file after another, as it is asked.

A request is a line of JSON, [module, folder]; its answer is another, {folder: null or a traceback}.
"""

import json
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # frameworks print, too
    for line in sys.stdin:
        module, folder = json.loads(line)
        print(json.dumps({folder: failure(module, Path(folder))}), file=answers)


def failure(module: str, folder: Path) -> str | None:
    """Run the module's `work`, from Keras's first settings; return the traceback where it failed."""
    import keras

    keras.utils.clear_session(free_memory=False)
    keras.config.set_floatx("float32")
    try:
        import_module(module).work(folder)
    except Exception:
        return traceback.format_exc()
    return None


if __name__ == "__main__":
    main()
