"""A trained run on captions of one's own: scores, what the model sees in them, and what each word is worth."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from itm_jax.config.model_fields import uses_edges
from itm_jax.data.prepare import with_text
from itm_jax.errors import InputError
from itm_jax.evaluation.open_run import OpenRun
from itm_jax.viz.explain import Matching, Merging, explain


def with_captions(run: OpenRun, images: Sequence[int], captions: Sequence[str]) -> OpenRun:
    """The run on pairs of its own images, by index, with any captions, one each.

    Raises:
        InputError: no such image, an empty caption, or a model that reads dependency edges, which such captions have not.
    """
    split = run.data.split
    for image in images:
        if not 0 <= image < split.num_images:
            raise InputError(f"image {image}: {split.source} has {split.num_images}")
    for caption in captions:
        if not caption.strip():
            raise InputError("an empty caption: write at least one word")
    if uses_edges(run.config.model):
        raise InputError("config.model.words.graph=sparse: captions of one's own have no dependency edges")
    rows = np.array(images)
    part = {name: x if (x := getattr(split, name)) is None else x[rows] for name in ("boxes", "labels", "objects")}
    pairs = dataclasses.replace(
        split,
        features=split.features[rows],
        captions=list(captions),
        captions_per_image=1,
        ids=[split.ids[image] for image in images],
        edges=None,
        **part,
    )
    return dataclasses.replace(run, data=with_text(run.config, pairs, run.text))


def scores(run: OpenRun) -> Float[np.ndarray, "i t"]:
    """Returns the score of every image with every caption of the run's split."""
    return run.scores().scores


def look_at(run: OpenRun, image: int, caption: str) -> Matching | Merging:
    """What the model sees in an image of the split and a caption of one's own."""
    return explain(with_captions(run, [image], [caption]), np.array([0]))[0]


def word_effects(run: OpenRun, image: int, caption: str) -> list[tuple[str, float]]:
    """(word, how much the score falls when it is left out) of each whitespace word; a caption of one word has no effects."""
    words = caption.split()
    if len(words) < 2:
        return []
    without = [" ".join(words[:k] + words[k + 1 :]) for k in range(len(words))]
    found = scores(with_captions(run, [image] * (len(words) + 1), [caption, *without]))[0]
    return [(word, float(found[0] - less)) for word, less in zip(words, found[1:], strict=True)]
