"""A worker that answers every request alike: its first argument says how, its last is the folder."""

import os
import sys
from pathlib import Path

from core_torch.parity.arrays_file import write_arrays

ANSWERS = {
    "without flushing": "{}",
    "null": '{"number": null}',
    "NaN as a text": '{"number": "NaN"}',
    "bare NaN": '{"number": NaN}',
    "another text": '{"number": "nan"}',
}
mode, folder = sys.argv[1], sys.argv[-1]
replies = os.fdopen(os.dup(1), "w")  # buffered, whatever PYTHONUNBUFFERED says
for _ in sys.stdin:
    write_arrays(Path(folder, "reply.safetensors"), {})
    print(ANSWERS[mode], file=replies, flush=mode != "without flushing")
