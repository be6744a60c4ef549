"""Galleries of small models: runs on extracted images, and an index of each."""

import numpy as np

from itm_jax.hub import gallery as galleries

SPLITS = {"train": 12, "dev": 4, "test": 5}
TEXTS = ["a red square", "blue left of green", "white"]
NAMES = ("afa", "cpfean")


def ids_of(hits):
    return [hit.id for hit in hits]


def best(model, images, text, top):
    """What a search without an index finds: the scores of all images."""
    names = galleries.images_in(images)
    scores = model.score([images / name for name in names], [text])[:, 0]
    order = np.argsort(-scores, kind="stable")[:top]
    return [names[k] for k in order], scores[order]
