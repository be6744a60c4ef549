"""Chooses queries to show, and draws each of them with its first five answers, right or wrong."""

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
        query: the index of the image or caption.
        rank: the 0-based rank of its best right answer.
        items: the indices of the first answers, best first.
        scores: the scores of these answers.
        right: whether each of these answers is right.
    """

    query: int
    rank: int
    items: Int[np.ndarray, " k"]
    scores: Float[np.ndarray, " k"]
    right: np.ndarray


def chosen_queries(
    ranks: Int[np.ndarray, " q"], margin: Float[np.ndarray, " q"], image: Int[np.ndarray, " q"], count: int
) -> dict[str, list[int]]:
    """Returns queries to show, by kind; of the captions of one image at most one.

    `best` are right at rank 1, with the largest margins first. `worst` have the last ranks. `spread` are evenly spread
    over the split.

    Args:
        ranks: the 0-based rank of each query.
        margin: the score of the best right answer minus that of the best wrong one.
        image: the image of each query.
        count: the number of queries of each kind, at most.
    """
    order = np.lexsort((-margin, ranks))
    some = np.unique(np.linspace(0, len(ranks) - 1, min(count, len(ranks))).astype(int))
    best = _one_of_each(order[ranks[order] == 0], image)[:count]
    worst = _one_of_each(order[::-1][ranks[order[::-1]] > 0], image)[:count]
    return {"best": best, "worst": worst, "spread": _one_of_each(some, image)}


def _one_of_each(queries: np.ndarray, image: np.ndarray) -> list[int]:
    """Returns the first query of each image, in the order of the queries."""
    return [int(queries[k]) for k in np.sort(np.unique(image[queries], return_index=True)[1])]


def margins(
    scores: Float[np.ndarray, "i t"], owner: Int[np.ndarray, " t"], *, of_images: bool
) -> Float[np.ndarray, " q"]:
    """Returns for each query the score of its best right answer minus that of its best wrong one."""
    right = owner[None, :] == np.arange(len(scores))[:, None]
    axis = 1 if of_images else 0
    return np.where(right, scores, -np.inf).max(axis=axis) - np.where(right, -np.inf, scores).max(axis=axis)


def answer(
    scores: Float[np.ndarray, "i t"], owner: Int[np.ndarray, " t"], query: int, rank: int, *, of_image: bool
) -> Answer:
    """Returns the first answers to a query; among equal scores the wrong ones come first, as in the ranks."""
    answers = scores[query] if of_image else scores[:, query]
    right = owner == query if of_image else np.arange(len(scores)) == owner[query]
    items = np.lexsort((right, -answers))[:TOP]
    return Answer(query, rank, items, answers[items], right[items])


@as_written
def draw_image_query(
    path: pathlib.Path, split: Split, shown: Answer, pixels: Callable[[int], np.ndarray | None]
) -> None:
    """Writes a picture of an image and the captions that it found, with the right ones in green."""
    figure, [[left, right]] = panels(1, 2, figsize=(10, 2.6), width_ratios=(2.4, 7.6))
    _show(left, pixels(shown.query), str(split.ids[shown.query]), "black")
    left.set_title(f"image; first right caption at rank {shown.rank + 1}", fontsize=9)
    right.axis("off")
    for k, (item, score, is_right) in enumerate(zip(shown.items, shown.scores, shown.right, strict=True)):
        text = "\n".join(textwrap.wrap(split.captions[item], 88)[:2])
        right.text(
            0,
            0.98 - k / TOP,
            f"{'✓' if is_right else '✗'} {score:.3f}  {text}",
            va="top",
            fontsize=9,
            color=_colour(bool(is_right)),
        )
    save(figure, path, bbox_inches="tight", pad_inches=0.05)


@as_written
def draw_caption_query(
    path: pathlib.Path, split: Split, shown: Answer, pixels: Callable[[int], np.ndarray | None]
) -> None:
    """Writes a picture of a caption and the images that it found, with the right one framed in green.

    Where the right image is not among them, it is shown last.
    """
    figure, [grid] = panels(1, TOP + 1, figsize=(12, 2.6))
    title = "\n".join(textwrap.wrap(split.captions[shown.query], 120)[:2])
    figure.suptitle(f"{title}\nits image is at rank {shown.rank + 1}", fontsize=9)
    for axes in grid:
        axes.axis("off")
    if not shown.right.any():
        image = int(split.caption_image_index[shown.query])
        _show(grid[-1], pixels(image), str(split.ids[image]), RIGHT)
        grid[-1].set_title(f"its image, at rank {shown.rank + 1}", fontsize=9, color=RIGHT)
    for axes, item, score, is_right in zip(grid, shown.items, shown.scores, shown.right, strict=False):
        _show(axes, pixels(int(item)), str(split.ids[item]), _colour(bool(is_right)))
        axes.set_title(f"{'✓' if is_right else '✗'} {score:.3f}", fontsize=9, color=_colour(bool(is_right)))
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
    """Returns the answers by (direction, kind): i2t and t2i; best, worst and spread."""
    out = {}
    for direction, rank in zip(("i2t", "t2i"), ranks, strict=True):
        of_images = direction == "i2t"
        images = np.arange(len(scores)) if of_images else owner
        chosen = chosen_queries(rank, margins(scores, owner, of_images=of_images), images, count)
        for kind, queries in chosen.items():
            out[direction, kind] = [answer(scores, owner, q, int(rank[q]), of_image=of_images) for q in queries]
    return out
