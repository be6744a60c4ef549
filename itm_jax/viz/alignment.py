"""Draws alignments: an image with its regions, and for each word the region that it took and how strongly."""

import pathlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from itm_jax.viz.explain import Matching, Merging
from itm_jax.viz.figures import GATES, PAIRS, as_written, panels, save

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
def draw_matching(path: pathlib.Path, pixels: np.ndarray, boxes: np.ndarray, caption: str, matching: Matching) -> None:
    """Writes a picture: all regions coloured by their gates, then for each word the region that it took.

    Args:
        path: the file of the picture.
        pixels: the image.
        boxes: [r 4] fractions of the image.
        caption: the caption as it is written.
        matching: the matching of the pair.
    """
    rows = max(1, -(-len(matching.words) // COLUMNS))
    figure = Figure(figsize=(4.2 + 1.7 * COLUMNS, max(4.4, 2.0 * rows)), layout="constrained")
    [[left, right]] = figure.subfigures(1, 2, squeeze=False, width_ratios=(4.2, 1.7 * COLUMNS))
    axes = left.subplots()
    _show(axes, pixels, f"{_wrapped(caption, 44)}\nscore {matching.score:.3f}", 10)
    gate = np.ones(len(boxes)) if matching.gate is None else matching.gate
    widest = max(float(gate.max()), 1e-9)  # all gates may be small; the colours compare them
    for region in np.argsort(gate):
        if np.isfinite(matching.cosines[region]).all():
            share = float(gate[region]) / widest
            _box(axes, boxes[region], pixels.shape, GATES(share), 0.6 + 2.4 * share)
    if matching.gate is not None:
        mappable = ScalarMappable(Normalize(0, widest), GATES)
        left.colorbar(mappable, ax=axes, location="bottom", shrink=0.7, label="gate of a region")
    grid = right.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in grid[len(matching.words) :]:
        axes.axis("off")
    for k, (word, region) in enumerate(zip(matching.words, matching.region_of_word, strict=True)):
        weight = "" if matching.prominence is None else f"\nweight {matching.prominence[k]:.3f}"
        _show(grid[k], pixels, f"{word}  {matching.cosines[region, k]:.2f}{weight}")
        _box(grid[k], boxes[region], pixels.shape, "red", 2.5)
    save(figure, path)


@as_written
def draw_merging(path: pathlib.Path, pixels: np.ndarray, boxes: np.ndarray, caption: str, merging: Merging) -> None:
    """Writes a picture: each pair of merged regions in one colour, and the merged word pieces below."""
    shown = merging.regions[:COLUMNS]
    count = max(1, len(shown))
    figure, [grid] = panels(1, 1 + count, figsize=(4 + 2.6 * count, 4))
    _show(grid[0], pixels, f"{_wrapped(caption, 40)}\nscore {merging.score:.3f}", 10)
    for axes in grid[1:]:
        axes.axis("off")
    for k, (source, destination, cosine) in enumerate(shown):
        _show(grid[k + 1], pixels, f"regions {source} → {destination}\ncosine {cosine:.2f}")
        for region in (source, destination):
            _box(grid[0], boxes[region], pixels.shape, PAIRS(k), 2)
            _box(grid[k + 1], boxes[region], pixels.shape, PAIRS(k), 2, str(region))
    pairs = [f"{merging.words[s]} → {merging.words[d]} ({cosine:.2f})" for s, d, cosine in merging.pieces]
    figure.supxlabel("merged words: " + (", ".join(pairs) or "none"), fontsize=10)
    save(figure, path)
