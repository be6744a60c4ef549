"""Draws curves of a run: its loss and its rSum on dev while it was trained, and its recall at K."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from itm_jax.viz.figures import BLUE, GREY, ORANGE, panels, save, without_frame

UP_TO = 100  # the largest K of a recall curve


def draw_training(path: pathlib.Path, lines: Sequence[Mapping[str, Any]], warmup_epochs: float = 0.0) -> None:
    """Writes a picture of the loss of training steps and of rSum on dev, with a mark where the warm-up ends.

    Args:
        path: the file of the picture.
        lines: the objects of metrics.jsonl.
        warmup_epochs: `loss.warmup_epochs` of the run; after them the loss is another one.
    """
    figure, [[left, right]] = panels(1, 2, figsize=(10, 3.4))
    steps = [(x["step"], x["loss"]) for x in lines if x.get("loss") is not None]
    dev = [(x["step"], x["rsum"]) for x in lines if x.get("rsum") is not None]
    left.plot(*zip(*steps, strict=True), color=BLUE, lw=1) if steps else None
    left.set(
        xlabel="step", ylabel="loss of a batch", yscale="log" if steps and min(y for _, y in steps) > 0 else "linear"
    )
    right.plot(*zip(*dev, strict=True), color=ORANGE, marker="o", ms=4) if dev else None
    right.set(xlabel="step", ylabel="rSum on dev")
    epochs = [(x["step"], x["epoch"]) for x in lines if x.get("epoch") is not None]
    if warmup_epochs and epochs and epochs[-1][1] > warmup_epochs:
        end = epochs[-1][0] / epochs[-1][1] * warmup_epochs
        for axes in (left, right):
            axes.axvline(end, color=GREY, lw=1, ls=":", label="the warm-up ends")
            axes.legend(fontsize=8)
    _finish(figure, (left, right), path)


def recall_curve(ranks: Int[np.ndarray, " q"], up_to: int = UP_TO) -> np.ndarray:
    """Returns recall at 1, 2, ... `up_to` in percent, from 0-based ranks."""
    count_of_rank = np.bincount(np.minimum(ranks, up_to), minlength=up_to + 1)[:up_to]
    return 100 * np.cumsum(count_of_rank) / len(ranks)


def draw_recall(path: pathlib.Path, image_ranks: np.ndarray, caption_ranks: np.ndarray) -> None:
    """Writes a picture of recall at K in both directions, from 0-based ranks."""
    figure, [[axes]] = panels(figsize=(5.4, 3.4))
    for ranks, name, colour in ((image_ranks, "image to text", BLUE), (caption_ranks, "text to image", ORANGE)):
        axes.plot(np.arange(1, UP_TO + 1), recall_curve(ranks), label=name, color=colour)
    axes.set(xlabel="K", ylabel="recall at K, %", xscale="log", ylim=(0, 101))
    axes.legend(fontsize=8)
    _finish(figure, (axes,), path)


def _finish(figure, every: Sequence[Any], path: pathlib.Path) -> None:
    for axes in every:
        axes.grid(alpha=0.25)
    without_frame(*every)
    save(figure, path, dpi=110)
