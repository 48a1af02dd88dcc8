"""One process at a time has a folder, and the folder shows nothing of it."""

import subprocess
import sys

import pytest
from filelock import Timeout

from core_torch.files.locks import folder_lock

TRY = """
import sys
from pathlib import Path
from filelock import Timeout
from core_torch.files.locks import folder_lock
try:
    folder_lock(Path(sys.argv[1])).acquire(timeout=0)
except Timeout:
    print("taken")
else:
    print("free")
"""


def tried_elsewhere(folder) -> str:
    done = subprocess.run([sys.executable, "-c", TRY, str(folder)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_another_process_does_not_get_a_locked_folder_by_any_name_of_it(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with folder_lock(tmp_path):
        assert tried_elsewhere(tmp_path) == tried_elsewhere(tmp_path / "link") == "taken"
        assert tried_elsewhere(tmp_path / "other") == "free"
        with pytest.raises(Timeout):
            folder_lock(tmp_path).acquire(timeout=0)
    assert tried_elsewhere(tmp_path) == "free"
    assert [path.name for path in tmp_path.iterdir()] == ["link"]
