"""Queries and their first answers as HTML: captions as text, which can be searched, and images as small photographs."""

import functools
from collections.abc import Callable, Mapping, Sequence

from itm_jax.data.scenes.truth import is_true
from itm_jax.data.scenes.world import make_world
from itm_jax.structs import Split
from itm_jax.viz import page
from itm_jax.viz.images import Pictures
from itm_jax.viz.retrieval import Answer

KINDS = {"best": "Best queries", "worst": "Worst queries", "spread": "Queries spread over the split"}
DIRECTIONS = {"i2t": "image to text", "t2i": "text to image"}
THUMBNAIL = 320  # pixels
# Whether a caption, by index, is true of an image, by index, although it was written for another one.
AlsoTrue = Callable[[int, int], bool]


def also_true_of(config, split: Split) -> AlsoTrue | None:
    """Returns what tells whether a caption is true of another image: for `scenes` alone, where the truth is known."""
    if config.data.source != "scenes":
        return None
    world = make_world(split.num_images, config.data.scenes.seed, split.name)
    return functools.cache(lambda caption, image: is_true(split.captions[caption], world, image))


def sections(
    queries: Mapping[tuple[str, str], Sequence[Answer]], split: Split, images: Pictures, also_true: AlsoTrue | None
) -> list[tuple[str, list[str]]]:
    """Returns a section for each kind of query, as (title, parts).

    Args:
        queries: answers by (direction, kind).
        split: the split.
        images: its pictures.
        also_true: tells wrong answers that are true all the same; None where nothing is known.
    """
    out = []
    for kind, title in KINDS.items():
        parts = [page.note("✓ marks right answers, ✗ wrong ones. The number is the score.")]
        if also_true:
            parts.append(
                page.note("≃ marks answers that count as wrong, but are true: the caption fits the image too.")
            )
        for direction, heading in DIRECTIONS.items():
            shown = queries.get((direction, kind), ())
            parts += [f"<h3>{heading}</h3>"] * bool(shown)
            to_html = image_query if direction == "i2t" else caption_query
            parts += [to_html(answer, split, images, also_true) for answer in shown]
        if any(queries.get((direction, kind)) for direction in DIRECTIONS):
            out.append((title, parts))
    return out


def image_query(answer: Answer, split: Split, images: Pictures, also_true: AlsoTrue | None) -> str:
    """Returns an image, the captions that it found, and its own captions."""
    starts, image = split.caption_starts, answer.query
    captions = range(int(starts[image]), int(starts[image + 1]))
    items = [
        f'<li class="{kind}">{mark} {score:.3f} {page.text(split.captions[item])}</li>'
        for item, score, (kind, mark) in _marked(answer, lambda item: bool(also_true and also_true(int(item), image)))
    ]
    written = "".join(f"<li>{page.text(split.captions[c])}</li>" for c in captions)
    return (
        f'<div class="query">{_figure(split, images, image)}<div><p>Its first right caption is at rank '
        f"{answer.rank + 1}. Captions that it found:</p><ol>{''.join(items)}</ol>"
        f"<details><summary>Its own captions</summary><ul>{written}</ul></details></div></div>"
    )


def caption_query(answer: Answer, split: Split, images: Pictures, also_true: AlsoTrue | None) -> str:
    """Returns a caption and the images that it found; where its own image is not among them, it comes last."""
    right_image = int(split.caption_image_index[answer.query])
    figures = [
        _figure(split, images, int(item), kind, f"{mark} {score:.3f} ")
        for item, score, (kind, mark) in _marked(
            answer, lambda item: bool(also_true and also_true(answer.query, int(item)))
        )
    ]
    if not answer.right.any():
        figures.append(_figure(split, images, right_image, "right", f"its image, at rank {answer.rank + 1}: "))
    return (
        f'<div class="query"><div><p><b>{page.text(split.captions[answer.query])}</b> (its image is at rank '
        f'{answer.rank + 1})</p><div class="answers">{"".join(figures)}</div></div></div>'
    )


def _marked(answer: Answer, is_also_true: Callable[[int], bool]):
    """Yields (item, score, (class, mark)) for each answer."""
    for item, score, right in zip(answer.items, answer.scores, answer.right, strict=True):
        yield item, score, ("right", "✓") if right else ("twin", "≃") if is_also_true(item) else ("wrong", "✗")


def _figure(split: Split, images: Pictures, image: int, kind: str = "", before: str = "") -> str:
    name = str(split.ids[image])
    pixels = images.get(image)
    first = split.captions[int(split.caption_starts[image])]
    shown = "" if pixels is None else page.photograph(pixels, f"image {name}, described as: {first}", THUMBNAIL)
    return f'<figure class="{kind}">{shown}<figcaption>{page.text(before + name)}</figcaption></figure>'
