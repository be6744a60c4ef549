"""Splits made smaller or worse on purpose, for experiments: fewer training images, fewer regions, wrong labels, noisy words.

Which labels and words are touched is a pure function of the split's sizes, so that models meet the same noise.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from itm_jax.data.draws import uniform
from itm_jax.data.elsewhere import RowsElsewhere
from itm_jax.errors import InputError
from itm_jax.structs import Split


class FirstRegions(RowsElsewhere):
    """The first images and regions of features that are read by row."""

    def __init__(self, features: Any, images: int, regions: int):
        super().__init__((images, regions, features.shape[2]), features.dtype)
        self._features = features

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows by their indices."""
        return self._features[rows][:, : self.shape[1]]


def alter(split: Split, data: Any, *, train: bool) -> Split:
    """The split as the experiment of the config wants it; the same object where it wants nothing.

    Args:
        split: as read.
        data: the `data` section: `train_share` and `alter`.
        train: whether it is the train split, to which `train_share` applies.

    Raises:
        InputError: the split has fewer regions, or no labels to permute.
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
    """The first images of a split and their captions; the files' order is taken for random, as the field's is."""
    captions = images * split.captions_per_image
    part = {name: x if (x := getattr(split, name)) is None else x[:images] for name in ("boxes", "labels", "objects")}
    return dataclasses.replace(
        split,
        features=_first(split.features, images, split.features.shape[1]),
        captions=split.captions[:captions],
        ids=split.ids[:images],
        edges=None if split.edges is None else split.edges[:captions],
        **part,
    )


def first_regions(split: Split, regions: int) -> Split:
    """The first regions of every image: detectors write the most certain ones first."""
    there = split.features.shape[1]
    if regions > there:
        raise InputError(f"config.data.alter.regions={regions}: {split.source} has {there} regions per image")
    part = {name: x if (x := getattr(split, name)) is None else x[:, :regions] for name in ("boxes", "labels")}
    return dataclasses.replace(split, features=_first(split.features, split.num_images, regions), **part)


def _first(features: Any, images: int, regions: int) -> Any:
    if isinstance(features, np.ndarray):
        return features[:images, :regions]
    return FirstRegions(features, images, regions)


def permute_labels(split: Split, share: float) -> Split:
    """A share of the regions' labels, drawn at random, change places with one another."""
    if split.labels is None:
        raise InputError(f"config.data.alter.permuted_labels={share}: {split.source} has no labels; leave it out")
    labels = split.labels.reshape(-1).copy()
    chosen = np.argsort(uniform(0, "labels/chosen", labels.size), kind="stable")[: round(share * labels.size)]
    labels[np.sort(chosen)] = labels[chosen]
    return dataclasses.replace(split, labels=labels.reshape(split.labels.shape))


def noisy_words(captions: Sequence[str], share: float) -> list[str]:
    """A share of the words drawn at random: half become another word of the captions, half have two letters swapped.

    The number of words stays, so that dependency edges still fit. A word of one letter is always replaced.
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
