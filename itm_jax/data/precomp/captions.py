"""Reads `{split}_caps.txt`, and refuses lines that are no captions: columns of a table, JSON, empty cells, a header."""

import pathlib
from collections.abc import Sequence

from itm_jax.data.defects import STRICT, Defects
from itm_jax.data.precomp.single_files import read_lines
from itm_jax.vision.items import NO_CAPTIONS, NO_TEXT

HEADERS = ("caption", "captions", "text", "sentence", "sentences", "raw", "comment", "title")


def read_captions(path: pathlib.Path, defects: Defects = STRICT) -> list[str] | None:
    """Reads captions, one per line, without spaces around them; None where the file is not usable.

    Blank captions, and lines that are no captions, are defects; where these are not strict, such lines are in the list.
    """
    lines = read_lines(path, defects)
    if lines is None:
        return None
    captions = [line.strip() for line in lines]
    if not captions:
        defects.add(path, "empty", "empty")
        return None
    _check_forms(path, captions, defects)
    blank = [i for i, c in enumerate(captions, 1) if not c]
    defects.each(path, "line", blank, "blank", "blank; every line must be a caption")
    return captions


def _check_forms(path: pathlib.Path, captions: Sequence[str], defects: Defects) -> None:
    """Reports lines that hold more than a caption, or none: columns of a table, JSON, empty cells, a header."""
    seen: set[int] = set()
    for pattern, kind, what in NO_CAPTIONS:
        lines = [n for n, caption in enumerate(captions, 1) if n not in seen and pattern.match(caption)]
        seen.update(lines)
        text = f"begins with {what}, which would be read as words; keep the captions alone, one per line"
        defects.each(path, "line", lines, kind, text)
    empty = [n for n, caption in enumerate(captions, 1) if caption.lower() in NO_TEXT]
    defects.each(path, "line", empty, "blank", "an empty cell of a table; every line must be a caption")
    if captions[0].lower() in HEADERS:
        defects.add(path, "header", "the header of a table; remove the line", "line 1")
    tabs = [n for n, caption in enumerate(captions, 1) if n not in seen and "\t" in caption]
    if 2 * len(tabs) > len(captions):
        defects.each(path, "line", tabs, "table", "the columns of a table; keep the captions alone, one per line")
    quoted = [n for n, caption in enumerate(captions, 1) if len(caption) > 1 and caption[0] == caption[-1] == '"']
    if 2 * len(quoted) > len(captions):
        defects.each(path, "line", quoted, "quotes", "in the quotation marks of a CSV; keep the text alone")
