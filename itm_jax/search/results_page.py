"""A page of answers that needs no other file: the images that were found, and the regions and words that decided."""

import io
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np
from PIL import Image

from itm_jax.files import write_whole
from itm_jax.search.hits import Asked, Explanation, Hit
from itm_jax.search.index import Index
from itm_jax.terminal import Bar
from itm_jax.viz import page
from itm_jax.viz.alignment import draw_matching
from itm_jax.viz.describe import explanations, pair_table

SHOWN = 220  # pixels of an image in the page
LARGEST = 4096  # pixels of the longer side of a thumbnail
LONGEST_TITLE = 80  # characters of a question in a heading


def write_results(index: Index, answers: Sequence[Asked], path: pathlib.Path) -> None:
    """Writes the page.

    Args:
        index: that answered.
        answers: in the order of the page.
        path: the file.

    Raises:
        InputError: the file cannot be written.
    """
    record = index.record
    about = [
        page.note(f"{len(index):,} images, searched with {pathlib.Path(record.model).name} ({record.fingerprint}).")
    ]
    if index.explains and any(answer.kind == "text" for answer in answers):
        about.append(page.note("For a text, the pictures show which word goes with which region of the image."))
    total = sum(len(answer.hits) for answer in answers)
    sections, done = [], 0
    with Bar("answers drawn", max(total, 1), short=True) as bar:
        for answer in answers:
            parts = [page.note("No image was found.")] if not answer.hits else []
            if answer.hits:
                figures = "".join(figure(hit, rank) for rank, hit in enumerate(answer.hits, 1))
                parts.append(f'<div class="answers">{figures}</div>')
            if index.explains and answer.kind == "text":
                for rank, hit in enumerate(answer.hits, 1):
                    parts.append(_folded(index, hit, rank, answer.words))
                    bar.update(done := done + 1)
            sections.append((_title(answer), parts))
        bar.update(max(total, 1))
    write_whole(path, page.whole_page("Search", about, sections))


def figure(hit: Hit, rank: int) -> str:
    """Returns an image that was found, with its rank, score and metadata."""
    image = f"<div>{page.text('no picture in the index')}</div>"
    if (pixels := _pixels(hit.thumbnail)) is not None:
        image = page.photograph(pixels, f"image {hit.id}", SHOWN)
    return f"<figure>{image}<figcaption>{caption_of_hit(hit, rank)}</figcaption></figure>"


def caption_of_hit(hit: Hit, rank: int) -> str:
    """Returns rank, score, id and metadata of an image that was found, as HTML."""
    facts = "".join(f"<br>{page.text(k)}: {page.text(v)}" for k, v in hit.metadata.items() if v is not None)
    return f"<b>{rank}. {hit.score:.3f}</b> {page.text(hit.id)}{facts}"


def explained(seen: Explanation, text: str) -> str:
    """Returns the picture of what decided, sentences that explain it, and the numbers."""
    out = ""
    pixels = _pixels(seen.thumbnail)
    if seen.boxes is not None and pixels is not None:
        words = "; ".join(f"{row[0]} in region {row[1]}" for row in pair_table(seen.matching).rows)
        with tempfile.TemporaryDirectory(prefix="itm_jax_search_") as folder:
            file = pathlib.Path(folder) / "pair.png"
            draw_matching(file, pixels, seen.boxes, text, seen.matching)
            out = page.drawing(file, f"the words and their regions: {words}")
    else:
        out = page.note("The index has no picture of this image, or no places of its regions: here are the numbers.")
    said = "".join(page.note(sentence) for sentence in explanations([seen.matching]))
    return f"{out}{said}{page.table(*pair_table(seen.matching))}"


def _folded(index: Index, hit: Hit, rank: int, text: str) -> str:
    inside = explained(index.explain(hit.id, text), text)
    return f"<details><summary>{rank}. {page.text(hit.id)}: what decided</summary>{inside}</details>"


def _title(answer: Asked) -> str:
    words = answer.words if len(answer.words) <= LONGEST_TITLE else f"{answer.words[: LONGEST_TITLE - 1]}…"
    return words if answer.kind == "text" else f"like {pathlib.Path(words).name if answer.kind == 'image' else words}"


def _pixels(jpeg: bytes | None) -> np.ndarray | None:
    """Returns the pixels of a thumbnail; None where there is none, or what is there is not one of `build`."""
    try:
        with Image.open(io.BytesIO(jpeg or b""), formats=["JPEG"]) as image:
            return np.asarray(image.convert("RGB")) if max(image.size) <= LARGEST else None
    except Exception:  # Pillow raises many kinds for a damaged file
        return None
