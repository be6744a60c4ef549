"""Reads the region features of images: checks that they are finite, and finds which regions are valid.

Files pad images that have fewer regions than others with rows of zeros. Such rows at the end of an image are not
regions.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from itm_jax.data.defects import STRICT
from itm_jax.structs import Split

CHUNK_BYTES = 64 << 20
FULL_SCAN_BYTES = 2 << 30  # files up to this size are read whole when they are opened, larger ones batch by batch


def valid_regions(
    features: Float[np.ndarray, "b r f"], num_regions: Int[np.ndarray, " b"] | None = None
) -> Bool[np.ndarray, "b r"]:
    """Returns which regions are valid: of the first `num_regions`, those up to the last one that is not all zero."""
    regions = features.shape[1]
    count = np.full(len(features), regions)
    shorter = ~features[:, -1].any(axis=-1)
    if num_regions is not None:
        shorter |= num_regions < regions
    padded = np.flatnonzero(shorter)
    if len(padded):
        held = np.any(features[padded] != 0, axis=-1)
        if num_regions is not None:
            held &= np.arange(regions) < num_regions[padded, None]
        count[padded] = np.where(held.any(axis=1), regions - np.argmax(held[:, ::-1], axis=1), 0)
    return np.arange(regions)[None, :] < count[:, None]


def masked_regions(
    split: Split, images: Int[np.ndarray, " b"]
) -> tuple[Float[np.ndarray, "b r f"], Bool[np.ndarray, "b r"]]:
    """Returns the features of images, 0 in invalid regions, and which regions are valid."""
    features = split.features[images]
    mask = valid_regions(features, None if split.num_regions is None else split.num_regions[images])
    if split.num_regions is not None:  # else invalid regions are zero already
        features = np.where(mask[..., None], features, np.zeros((), features.dtype))
    return features, mask


def read_regions(
    split: Split, images: Int[np.ndarray, " b"]
) -> tuple[Float[np.ndarray, "b r f"], Bool[np.ndarray, "b r"]]:
    """Returns the features of images, 0 in invalid regions, and which regions are valid; the values are checked.

    Raises:
        InputError: a valid region holds NaN or Inf, or an image has no region; the message names the row of the file.
    """
    features, mask = masked_regions(split, images)
    check_finite(features, split.rows_of(images), split.source)
    empty = ~mask.any(axis=1)
    STRICT.each(split.source, "row", split.rows_of(images)[empty], "zero", "all features are zero; extract it again")
    return features, mask


def check_finite(features: np.ndarray, rows: np.ndarray, source: str) -> None:
    """Raises InputError that names the first of `rows` (numbers of rows in the file) that holds NaN or Inf."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(features, dtype=np.float32)):
            return
    bad = ~np.isfinite(features).reshape(len(features), -1).all(axis=1)
    if bad.any():
        STRICT.each(source, "row", np.asarray(rows)[bad], "not-finite", "NaN or Inf; extract it again")


def is_small(features: Any) -> bool:
    """Returns whether a file of features is read whole when it is opened."""
    return features.nbytes <= FULL_SCAN_BYTES


def check_regions(split: Split) -> None:
    """Raises InputError where a valid region of a split holds NaN or Inf, or where an image has no region."""
    for images in chunks_of(split):
        read_regions(split, images)


def region_mask(split: Split) -> Bool[np.ndarray, "i r"]:
    """Returns which regions of all images of a split are valid; their features are read."""
    return np.concatenate([masked_regions(split, images)[1] for images in chunks_of(split)])


def chunks_of(split: Split) -> Iterator[Int[np.ndarray, " b"]]:
    """Yields the indices of the images in chunks whose features take about CHUNK_BYTES."""
    step = max(1, CHUNK_BYTES // split.features[0].nbytes)
    for start in range(0, split.num_images, step):
        yield np.arange(start, min(start + step, split.num_images))
