"""Draws alignments: an image with its regions, and for each word the region that it took and how strongly."""

import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from itm_jax.viz.describe import pair_table
from itm_jax.viz.explain import Matching, Shares
from itm_jax.viz.figures import GATES, PAIRS, as_written, save

COLUMNS = 6  # words in a row


def _show(axes: Axes, pixels: np.ndarray, title: str, size: int = 9) -> None:
    axes.imshow(pixels)
    axes.set_title(title, fontsize=size)
    axes.axis("off")


def _box(axes: Axes, box: np.ndarray, shape: tuple[int, ...], colour, width: float = 2.0, label: str = "") -> None:
    h, w = shape[:2]
    x1, y1, x2, y2 = box * np.array([w, h, w, h])
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width))
    if label:
        style = {"facecolor": "black", "alpha": 0.6, "pad": 1, "edgecolor": "none"}
        axes.text(x1 + 2, y1 + 2, label, color="white", fontsize=7, va="top", bbox=style)


def _wrapped(text: str, width: int = 60) -> str:
    lines = [""]
    for word in text.split():
        lines[-1:] = [f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < width else [lines[-1], word]
    return "\n".join(lines)


@as_written
def draw_matching(
    path: pathlib.Path, pixels: np.ndarray, boxes: np.ndarray, caption: str, seen: Matching | Shares
) -> None:
    """Writes a picture: all regions, coloured by their weight, then for each word the region that it took.

    Args:
        path: the file of the picture.
        pixels: the image.
        boxes: [r 4] fractions of the image.
        caption: the caption as it is written.
        seen: what the model sees in the pair.
    """
    view, words = _view(seen), pair_table(seen)
    rows = max(1, -(-len(seen.words) // COLUMNS))
    figure = Figure(figsize=(4.2 + 1.7 * COLUMNS, max(4.4, 2.0 * rows)), layout="constrained")
    [[left, right]] = figure.subfigures(1, 2, squeeze=False, width_ratios=(4.2, 1.7 * COLUMNS))
    axes = left.subplots()
    _show(axes, pixels, f"{_wrapped(caption, 44)}\nscore {seen.score:.3f}", 10)
    # Without weights all boxes are thin and dark, so that they do not hide the image.
    weight = np.zeros(len(boxes)) if view.region_weight is None else np.maximum(view.region_weight, 0.0)
    widest = max(float(np.nanmax(weight)), 1e-9)  # all weights may be small; the colours compare them
    for region in np.argsort(weight):
        if np.isfinite(view.pairs[region]).all():
            share = float(weight[region]) / widest
            _box(axes, boxes[region], pixels.shape, GATES(share), 0.6 + 2.4 * share)
    if view.region_weight is not None:
        mappable = ScalarMappable(Normalize(0, widest), GATES)
        ticks = MaxNLocator(3)  # more of them would overlap
        left.colorbar(mappable, ax=axes, location="bottom", shrink=0.7, label=view.name_of_weight, ticks=ticks)
    grid = right.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in grid[len(seen.words) :]:
        axes.axis("off")
    for k, (word, region, *numbers) in enumerate(words.rows):
        lines = [f"{name} {number}" for name, number in zip(words.headings[2:], numbers, strict=True) if number]
        _show(grid[k], pixels, "\n".join([word, *lines]), 8)
        if region != "none":
            _box(grid[k], boxes[int(region)], pixels.shape, "red", 2.5)
    if isinstance(seen, Shares):
        for k, (source, destination, _) in enumerate(seen.merged_regions):
            for region in (source, destination):
                _box(left.axes[0], boxes[region], pixels.shape, PAIRS(k), 2, f"merged {k + 1}")
    save(figure, path, bbox_inches="tight", pad_inches=0.1)


class _View(NamedTuple):
    """What a picture shows: a number for each pair of region and word, and a weight for each region."""

    pairs: Float[np.ndarray, "r l"]
    region_weight: np.ndarray | None
    name_of_weight: str


def _view(seen: Matching | Shares) -> _View:
    if isinstance(seen, Shares):
        return _View(seen.shares, np.nansum(seen.shares, axis=1), "share of the score")
    return _View(seen.cosines, seen.gate if seen.has_open_gate else None, "gate of a region")
