"""Pages that need nothing beside them: one style, templates that escape every text, pictures inside the file."""

import base64
from pathlib import Path

from core_torch.files.atomic import write_atomically

TEMPLATES = Path(__file__).with_name("templates")
MEDIA_TYPES = {".png": "image/png", ".gif": "image/gif", ".svg": "image/svg+xml"}


def write_page(path: Path, template: Path, **values: object) -> None:
    """Fill a template that extends `page.html` with values, and write the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folders = FileSystemLoader([TEMPLATES, template.parent])
    environment = Environment(
        loader=folders, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template(template.name).render(values)
    write_atomically(path, text.encode(errors="replace"))  # the name of a file need not be text


def embed_picture(content: bytes, suffix: str) -> str:
    """Return the address of a picture that lies inside the page."""
    return f"data:{MEDIA_TYPES[suffix]};base64,{base64.b64encode(content).decode()}"
