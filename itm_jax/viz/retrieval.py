"""Queries and what they found: which are shown, and a picture of each with its first five answers, right or wrong."""

import dataclasses
import pathlib
import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from itm_jax.structs import Split
from itm_jax.viz.figures import RIGHT, WRONG, as_written, panels, save

TOP = 5


@dataclasses.dataclass(frozen=True)
class Answer:
    """A query with its first answers.

    Attributes:
        query: index of the image or caption.
        rank: of its best right answer, 0-based.
        items: indices of the first answers, best first.
        scores: of them.
        right: whether each is right.
    """

    query: int
    rank: int
    items: Int[np.ndarray, " k"]
    scores: Float[np.ndarray, " k"]
    right: np.ndarray


def chosen_queries(ranks: Int[np.ndarray, " q"], margin: Float[np.ndarray, " q"], count: int) -> dict[str, list[int]]:
    """Queries to show: `best` (found first, by the largest margin), `worst` (found last), and `spread` over the split.

    Args:
        ranks: 0-based.
        margin: score of the best right answer less that of the best wrong one.
        count: of each kind.
    """
    order = np.lexsort((-margin, ranks))
    some = np.unique(np.linspace(0, len(ranks) - 1, min(count, len(ranks))).astype(int))
    best = [int(q) for q in order[:count] if ranks[q] == 0]
    worst = [int(q) for q in order[::-1][:count] if ranks[q] > 0]
    return {"best": best, "worst": worst, "spread": [int(q) for q in some]}


def margins(
    scores: Float[np.ndarray, "i t"], owner: Int[np.ndarray, " t"], *, of_images: bool
) -> Float[np.ndarray, " q"]:
    """Of every query the score of its best right answer less that of its best wrong one."""
    own = owner[None, :] == np.arange(len(scores))[:, None]
    axis = 1 if of_images else 0
    return np.where(own, scores, -np.inf).max(axis=axis) - np.where(own, -np.inf, scores).max(axis=axis)


def answer(
    scores: Float[np.ndarray, "i t"], owner: Int[np.ndarray, " t"], query: int, rank: int, *, of_image: bool
) -> Answer:
    """The first answers to a query; among equal scores wrong ones come first, as they count."""
    found = scores[query] if of_image else scores[:, query]
    right = owner == query if of_image else np.arange(len(scores)) == owner[query]
    items = np.lexsort((right, -found))[:TOP]
    return Answer(query, rank, items, found[items], right[items])


@as_written
def draw_image_query(
    path: pathlib.Path, split: Split, found: Answer, pixels: Callable[[int], np.ndarray | None]
) -> None:
    """Writes an image and the captions it found, right ones in green."""
    figure, [[left, right]] = panels(1, 2, figsize=(10, 2.6), width_ratios=(2.4, 7.6))
    _show(left, pixels(found.query), str(split.ids[found.query]), "black")
    left.set_title(f"image; first right caption at {found.rank + 1}", fontsize=9)
    right.axis("off")
    for k, (item, score, is_right) in enumerate(zip(found.items, found.scores, found.right, strict=True)):
        text = "\n".join(textwrap.wrap(split.captions[item], 88)[:2])
        right.text(
            0,
            0.98 - k / TOP,
            f"{'✓' if is_right else '✗'} {score:.3f}  {text}",
            va="top",
            fontsize=9,
            color=_colour(is_right),
        )
    save(figure, path, bbox_inches="tight", pad_inches=0.05)


@as_written
def draw_caption_query(
    path: pathlib.Path, split: Split, found: Answer, pixels: Callable[[int], np.ndarray | None]
) -> None:
    """Writes a caption and the images it found, the right one framed in green; it comes last where it is not among them."""
    figure, [grid] = panels(1, TOP + 1, figsize=(12, 2.6))
    title = "\n".join(textwrap.wrap(split.captions[found.query], 120)[:2])
    figure.suptitle(f"{title}\nits image is found at {found.rank + 1}", fontsize=9)
    for axes in grid:
        axes.axis("off")
    if not found.right.any():
        own = found.query // split.captions_per_image
        _show(grid[-1], pixels(own), str(split.ids[own]), RIGHT)
        grid[-1].set_title(f"its image, at {found.rank + 1}", fontsize=9, color=RIGHT)
    for axes, item, score, is_right in zip(grid, found.items, found.scores, found.right, strict=False):
        _show(axes, pixels(int(item)), str(split.ids[item]), _colour(is_right))
        axes.set_title(f"{'✓' if is_right else '✗'} {score:.3f}", fontsize=9, color=_colour(is_right))
    save(figure, path, bbox_inches="tight", pad_inches=0.05)


def _colour(is_right: bool) -> str:
    return RIGHT if is_right else WRONG


def _show(axes, pixels: np.ndarray | None, name: str, colour: str) -> None:
    if pixels is None:
        axes.text(0.5, 0.5, "\n".join(textwrap.wrap(name, 16)), ha="center", va="center", fontsize=7)
        axes.set(xlim=(0, 1), ylim=(0, 1))
    else:
        axes.imshow(pixels)
    axes.axis("on")
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set(color=colour, linewidth=3)


def shown_queries(
    scores: Float[np.ndarray, "i t"], owner: Int[np.ndarray, " t"], ranks: Sequence[np.ndarray], count: int
) -> dict[tuple[str, str], list[Answer]]:
    """Answers by (direction, kind): i2t and t2i; best, worst and spread."""
    out = {}
    for direction, of_direction in zip(("i2t", "t2i"), ranks, strict=True):
        of_images = direction == "i2t"
        chosen = chosen_queries(of_direction, margins(scores, owner, of_images=of_images), count)
        for kind, queries in chosen.items():
            out[direction, kind] = [answer(scores, owner, q, int(of_direction[q]), of_image=of_images) for q in queries]
    return out
