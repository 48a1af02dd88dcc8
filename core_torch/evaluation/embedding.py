"""Put a chart inside a page."""

from io import BytesIO
from typing import TYPE_CHECKING

from core_torch.files.page import embed_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Letters stay text, which is smaller and can be searched; without a date and with fixed names, equal charts are equal.
SVG_OPTIONS = {"fonttype": "none", "hashsalt": "chart"}


def embed_figure(figure: "Figure") -> str:
    """Return the address of a chart, as SVG inside the page."""
    from matplotlib import rc, rc_context

    content = BytesIO()
    with rc_context():
        rc("svg", **SVG_OPTIONS)
        figure.savefig(content, format="svg", metadata={"Date": None})
    return embed_picture(content.getvalue(), ".svg")
