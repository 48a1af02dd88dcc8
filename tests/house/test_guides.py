"""Every Python block of a guide in docs works as written: the blocks of a page run in order, in one process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# {page: what its blocks print, or a part of it}
PAGES = {"port-your-model.md": "my model: my JAX port disagrees at the level outputs"}


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page, tmp_path):
    script = tmp_path / "test_page.py"
    script.write_text("\n".join(python_blocks(page)))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    # As a test file, so that tests which a page defines run too.
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-c", os.devnull, str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert PAGES[page] in done.stdout


def test_every_page_with_a_block_is_run():
    assert {page.name for page in (ROOT / "docs").glob("*.md") if python_blocks(page.name)} == set(PAGES)
