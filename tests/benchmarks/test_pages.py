"""The report and the page of a run in a browser: whole, within a phone's width, in the dark, and without a network."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.report.page import write_report
from benchmarks.report.reading import read_results
from benchmarks.report.results_file import Results

ROOT = Path(__file__).parents[2]
PUBLISHED = max((ROOT / "benchmarks" / "published").glob("*/results.json"), key=lambda path: path.stat().st_size)
LARGEST = 6_000_000  # bytes
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# What the page has to say of itself once it is drawn.
PROBE = """<script>addEventListener("load", () => {
  const images = [...document.images], root = document.documentElement;
  const style = getComputedStyle(document.body), back = style.backgroundColor + getComputedStyle(root).backgroundColor;
  document.title = [root.scrollWidth - innerWidth, images.filter(image => !image.naturalWidth).length,
    images.length + document.querySelectorAll("svg").length, style.color + back].join("|");
})</script>"""


@pytest.fixture(scope="module", params=["report", "run"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "report":
        write_report(Results.from_content(read_results(PUBLISHED)), folder / "index.html")
    else:
        command = [sys.executable, "-m", "core_torch", "train", "--epochs", "1", "--output", str(folder)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return folder / "index.html"


def drawn(page: Path, *options: str) -> list[str]:
    """What `PROBE` says: pixels too wide, broken pictures, pictures, colours."""
    if BROWSER is None:
        pytest.skip("there is no Chromium to look at pages with")
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text(encoding="utf-8").replace("</html>", f"{PROBE}</html>"), encoding="utf-8")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom")
    command = [BROWSER, *flags, *options, f"file://{probed}"]
    home = os.environ | {"HOME": str(page.parent)}  # which may be read-only otherwise
    done = subprocess.run(command, env=home, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title, done.stdout[:500]
    return title[1].split("|")


def test_a_page_asks_for_nothing_else(page):
    text = page.read_text(encoding="utf-8")
    assert len(text) < LARGEST
    for link in re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", text):
        assert link.startswith(("data:", "#")), link
    assert "@import" not in text
    assert "url(http" not in text


@pytest.mark.parametrize("width", [500, 1400])  # the first is the narrowest window that Chromium opens
def test_a_page_is_whole_at_every_width(page, width):
    too_wide, broken, pictures, _ = drawn(page, f"--window-size={width},900")
    assert int(too_wide) <= 0
    assert broken == "0"
    assert int(pictures) == len(re.findall(r"<(?:img|svg)\b", page.read_text(encoding="utf-8"))) > 0


def test_a_page_is_dark_where_that_is_asked_for(page):
    assert drawn(page)[3] != drawn(page, "--blink-settings=preferredColorScheme=0")[3]
