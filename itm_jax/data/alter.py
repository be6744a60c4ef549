"""Makes splits smaller or worse on purpose: fewer training images or regions, wrong labels, noisy words.

The labels and words that are changed are a pure function of the split's sizes, so that all models meet the same noise.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from itm_jax.data.draws import uniform
from itm_jax.data.elsewhere import SomeRows
from itm_jax.errors import InputError
from itm_jax.structs import Split


def alter(split: Split, data: Any, *, train: bool) -> Split:
    """Returns the split with the changes that the config asks for; the same object where it asks for none.

    Args:
        split: as read.
        data: the `data` section, with `train_share` and `alter`.
        train: whether it is the train split; `train_share` applies to this split alone.

    Raises:
        InputError: the split has fewer regions than asked for, or no labels to permute.
    """
    if train and data.train_share < 1:
        split = first_images(split, max(1, round(data.train_share * split.num_images)))
    if data.alter.regions:
        split = first_regions(split, data.alter.regions)
    if data.alter.permuted_labels:
        split = permute_labels(split, data.alter.permuted_labels)
    if data.alter.noisy_words:
        split = dataclasses.replace(split, captions=noisy_words(split.captions, data.alter.noisy_words))
    return split


def first_images(split: Split, images: int) -> Split:
    """Returns the first images of a split with their captions. The order of the files is assumed to be random."""
    captions, counts = int(split.caption_starts[images]), split.captions_per_image
    return dataclasses.replace(
        split,
        features=_first(split.features, images, split.features.shape[1]),
        captions=split.captions[:captions],
        captions_per_image=counts if isinstance(counts, int) else counts[:images],
        ids=split.ids[:images],
        boxes=None if split.boxes is None else split.boxes[:images],
        labels=None if split.labels is None else split.labels[:images],
        edges=None if split.edges is None else split.edges[:captions],
        objects=None if split.objects is None else split.objects[:images],
        num_regions=None if split.num_regions is None else split.num_regions[:images],
        rows=None if split.rows is None else split.rows[:images],
        lines=None if split.lines is None else split.lines[:captions],
    )


def first_regions(split: Split, regions: int) -> Split:
    """Returns the split with the first regions of every image; detectors write the most certain ones first."""
    available = split.features.shape[1]
    if regions > available:
        raise InputError(f"config.data.alter.regions={regions}: {split.source} has {available} regions per image")
    return dataclasses.replace(
        split,
        features=_first(split.features, split.num_images, regions),
        boxes=None if split.boxes is None else split.boxes[:, :regions],
        labels=None if split.labels is None else split.labels[:, :regions],
        num_regions=None if split.num_regions is None else np.minimum(split.num_regions, regions),
    )


def _first(features: Any, images: int, regions: int) -> Any:
    if isinstance(features, np.ndarray):
        return features[:images, :regions]
    return SomeRows(features, np.arange(images), regions)


def permute_labels(split: Split, share: float) -> Split:
    """Returns the split with a share of its region labels, drawn at random, moved to other regions."""
    if split.labels is None:
        raise InputError(f"config.data.alter.permuted_labels={share}: {split.source} has no labels; leave it out")
    labels = split.labels.reshape(-1).copy()
    chosen = np.argsort(uniform(0, "labels/chosen", labels.size), kind="stable")[: round(share * labels.size)]
    labels[np.sort(chosen)] = labels[chosen]
    return dataclasses.replace(split, labels=labels.reshape(split.labels.shape))


def noisy_words(captions: Sequence[str], share: float) -> list[str]:
    """Returns captions in which a share of the words, drawn at random, is changed.

    Half of these words become another word of the captions; in the other half two letters are swapped. The number of
    words stays, so that dependency edges still fit. A word of one letter is always replaced.
    """
    words = [caption.split() for caption in captions]
    total = sum(map(len, words))
    every = [word for caption in words for word in caption]
    touched, how, which, where = (uniform(0, f"words/{name}", total) for name in ("touch", "how", "which", "where"))
    k = 0
    for caption in words:
        for j, word in enumerate(caption):
            if touched[k] < share:
                at = int(where[k] * (len(word) - 1))
                swapped = word[:at] + word[at : at + 2][::-1] + word[at + 2 :]
                caption[j] = every[int(which[k] * total)] if how[k] < 0.5 or len(word) < 2 else swapped
            k += 1
    return [" ".join(caption) for caption in words]
