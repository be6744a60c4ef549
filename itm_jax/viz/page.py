"""The parts of an HTML page that needs no other file: head and style, contents, sections, tables, pictures."""

import base64
import html
import io
import pathlib
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

PHOTOGRAPHS = 'alt="image '  # how the images of a split begin in a page (`viz.answers`)
QUALITY = 82  # of JPEG
WIDEST = 1400  # pixels of a drawing in the page; its file beside the page keeps all of them
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2733;max-width:1080px;margin:2em auto;padding:0 1.2em}
h1{font-size:1.7em;margin:0 0 .2em}h3{font-size:1em;margin:1.4em 0 .4em}p{margin:.4em 0}
nav{background:#f3f5f8;padding:.5em 1em;margin:1em 0;columns:2}nav a{display:block}
section>details>summary{font-size:1.25em;margin:1.6em 0 .5em;border-bottom:1px solid #d5dbe2}
.note{color:#5c6b7a;font-size:.9em}
table{border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums}
td,th{padding:.25em .7em;text-align:right;border-bottom:1px solid #e3e7ec}td:first-child,th:first-child{text-align:left}
th{background:#f3f5f8;font-weight:600}tr.published td{color:#5c6b7a}
img{max-width:100%;height:auto;border:1px solid #e3e7ec}
.query{display:flex;gap:1.2em;margin:1em 0;align-items:flex-start}.query>figure{flex:none;width:220px}
figure{margin:0}figcaption{font-size:.85em;overflow-wrap:anywhere}
.answers{display:flex;flex-wrap:wrap;gap:.8em}.answers figure{width:180px}.answers img{border-width:3px;width:100%}
ol{margin:.2em 0;padding-left:1.6em}.right{color:#23774a}.wrong{color:#b0392b}.twin{color:#8a6d00}
.right img{border-color:#2a8f4f}.wrong img{border-color:#c0392b}.twin img{border-color:#c9a227}
details{margin:.6em 0}summary{cursor:pointer;font-weight:600}code{font-size:.88em}
pre{background:#f3f5f8;padding:.6em 1em;overflow-x:auto}
"""


def text(value: object) -> str:
    """Returns a value as HTML text."""
    return html.escape(str(value), quote=True)


def whole_page(title: str, parts: Sequence[str], sections: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Returns the page: a title, what stands above the contents, and sections (title, parts) that can be folded."""
    names = [f"{re.sub(r'[^0-9a-z]+', '-', name.lower()).strip('-')}-{k}" for k, (name, _) in enumerate(sections, 1)]
    contents = [f'<a href="#{anchor}">{text(name)}</a>' for anchor, (name, _) in zip(names, sections, strict=True)]
    body = [f"<h1>{text(title)}</h1>", *parts, f"<nav>{''.join(contents)}</nav>"]
    for anchor, (name, inside) in zip(names, sections, strict=True):
        body.append(f'<section id="{anchor}"><details open><summary>{text(name)}</summary>')
        body += [*inside, "</details></section>"]
    head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{text(title)}</title>"
    return (
        f"<!doctype html><html lang='en'><head>{head}<style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def note(words: str) -> str:
    """Returns a sentence in small letters."""
    return f'<p class="note">{text(words)}</p>'


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns a table."""
    return f"<table>{row(headings, 'th') if headings else ''}{''.join(row(r) for r in rows)}</table>"


def row(cells: Sequence[object], tag: str = "td", kind: str = "") -> str:
    """Returns a row of a table; `kind` is a class of the style."""
    inside = "".join(f"<{tag}>{text(cell)}</{tag}>" for cell in cells)
    return f"<tr{f' class={kind}' if kind else ''}>{inside}</tr>"


def drawing(path: pathlib.Path, alternative: str) -> str:
    """Returns a picture file as an <img> that contains it: a PNG as JPEG, an SVG as it is."""
    if path.suffix == ".svg":
        return _img(path.read_bytes(), "image/svg+xml", alternative)
    with Image.open(path) as image:
        return _img(_jpeg(image, WIDEST), "image/jpeg", alternative)


def photograph(pixels: np.ndarray, alternative: str, longest: int) -> str:
    """Returns [h w 3 or 4] pixels, uint8 or floats in [0, 1], as an <img> whose longer side has at most `longest`."""
    values = pixels if pixels.dtype == np.uint8 else np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return _img(_jpeg(Image.fromarray(values), longest), "image/jpeg", alternative)


def _jpeg(image: Image.Image, longest: int) -> bytes:
    if image.mode in ("RGBA", "LA", "P"):  # what is transparent becomes white
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    image = image.convert("RGB")
    image.thumbnail((longest, longest))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _img(data: bytes, kind: str, alternative: str) -> str:
    return f'<img alt="{text(alternative)}" src="data:{kind};base64,{base64.b64encode(data).decode()}">'
