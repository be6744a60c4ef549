"""Tries a trained run on your own captions: scores, what the model sees in them, and the effect of each word."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from itm_jax.config.model_fields import uses_edges
from itm_jax.data.prepare import with_text
from itm_jax.errors import InputError
from itm_jax.evaluation.open_run import OpenRun
from itm_jax.viz.explain import Matching, Shares, explain


def with_captions(run: OpenRun, images: Sequence[int], captions: Sequence[str]) -> OpenRun:
    """Returns the run on new pairs: images of its split, by index, each with one caption of your own.

    Raises:
        InputError: there is no such image, a caption is empty, or the model reads dependency edges, which your captions
            do not have.
    """
    split = run.data.split
    for image in images:
        if not 0 <= image < split.num_images:
            raise InputError(f"image {image}: {split.source} has {split.num_images} images; use an index below that")
    for caption in captions:
        if not caption.strip():
            raise InputError("an empty caption: write at least one word")
    if uses_edges(run.config.model):
        raise InputError("config.model.words.graph=sparse: your own captions have no dependency edges; use another run")
    rows = np.array(images)
    part: dict[str, Any] = {
        name: x if (x := getattr(split, name)) is None else x[rows]
        for name in ("boxes", "labels", "objects", "num_regions")
    }
    pairs = dataclasses.replace(
        split,
        features=split.features[rows],
        captions=list(captions),
        captions_per_image=1,
        ids=[split.ids[image] for image in images],
        edges=None,
        rows=split.rows_of(rows),
        lines=None,
        **part,
    )
    return dataclasses.replace(run, data=with_text(run.config, pairs, run.text))


def scores(run: OpenRun) -> Float[np.ndarray, "i t"]:
    """Returns the score of every image with every caption of the run's split."""
    return run.scores().scores


def look_at(run: OpenRun, image: int, caption: str) -> Matching | Shares:
    """Returns what the model sees in an image of the split and a caption of your own."""
    return explain(with_captions(run, [image], [caption]), np.array([0]))[0]


def word_effects(run: OpenRun, image: int, caption: str) -> list[tuple[str, float]]:
    """Returns (word, how much the score falls without it) for each whitespace word; nothing for a single word."""
    words = caption.split()
    if len(words) < 2:
        return []
    without = [" ".join(words[:k] + words[k + 1 :]) for k in range(len(words))]
    whole, *less = scores(with_captions(run, [image] * (len(words) + 1), [caption, *without]))[0]
    return [(word, float(whole - score)) for word, score in zip(words, less, strict=True)]
