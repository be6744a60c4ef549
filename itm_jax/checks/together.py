"""Whether the splits of a data set belong together, and whether an image occurs twice in them.

The content of the images decides, not their ids: files number the images of each split from 0, or name one image twice.
"""

from collections.abc import Sequence

import numpy as np

from itm_jax.data.defects import Defects
from itm_jax.data.precomp.repeats import FEW_TWICE
from itm_jax.data.regions import masked_regions
from itm_jax.structs import Split

SAMPLED = 64  # images of a split whose features are compared with those of other splits
SCALE = 4.0  # the largest ratio of the mean absolute values of the features of two splits


def check_together(splits: Sequence[tuple[Split, list[bytes]]], defects: Defects) -> None:
    """Reports images that occur twice in a split or in two splits, and splits that do not belong to one data set.

    Args:
        splits: each split with a digest of the content of each of its images.
        defects: where to report.
    """
    for k, (split, digests) in enumerate(splits):
        _check_twice(split, digests, defects)
        for other, other_digests in splits[:k]:
            if split.name != other.name and not _check_leak(split, digests, other, other_digests, defects):
                _check_shared_captions(split, other, defects)
    first = splits[0][0]
    size = mean_size(first)
    for split, _ in splits[1:]:
        ratio = mean_size(split) / size if size else 1.0
        if not 1 / SCALE <= ratio <= SCALE:
            what = f"its features are {ratio:.2g} times as large as those of {first.source}"
            defects.add(split.source, "differs", f"{what}; extract both in the same way")
        for what, value, expected in (
            ("feature width", split.features.shape[2], first.features.shape[2]),
            ("captions per image", split.captions_per_image, first.captions_per_image),
        ):
            if isinstance(value, int) and isinstance(expected, int) and value != expected:
                differs = f"{what} is {value}, but {expected} in {first.source}"
                defects.add(split.source, "differs", f"{differs}; do the splits belong to one data set?")


def mean_size(split: Split) -> float:
    """Returns the mean absolute value of the features of some images of a split, without NaN and Inf."""
    images = np.unique(np.linspace(0, split.num_images - 1, SAMPLED).astype(int))
    features, mask = masked_regions(split, images)
    values = np.abs(features[mask].astype(np.float32))
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else 0.0


def _check_twice(split: Split, digests: Sequence[bytes], defects: Defects) -> None:
    """Reports images of one split that have the same features; a few, as published data sets have, are noted only."""
    first: dict[bytes, int] = {}
    pairs = [(first[x], i) for i, x in enumerate(digests) if x and first.setdefault(x, i) != i]
    if pairs:
        a, b = pairs[0]
        count = f"{len(pairs)} of {split.num_images}"
        what = f"images with the features of an earlier image: {count} (first: {_name(split, b)}, as {_name(split, a)})"
        hint = "a query then has two right images, but finds one; keep one of them"
        if len(pairs) > FEW_TWICE * split.num_images:
            defects.add(split.source, "twice", f"{what}; {hint}")
        else:
            defects.notes.append(f"{split.name}: {what}")


def _check_leak(
    split: Split, digests: Sequence[bytes], other: Split, other_digests: Sequence[bytes], defects: Defects
) -> bool:
    """Reports images of one split whose features are in another split too; returns whether there are any."""
    index = {x: i for i, x in enumerate(other_digests)}
    shared = [i for i, x in enumerate(digests) if x and x in index]
    if shared:
        example = f"{_name(split, shared[0])}, there {_name(other, index[digests[shared[0]]])}"
        what = f"{len(shared)} images are in split {other.name} too (first: {example})"
        defects.add(split.source, "leak", f"{what}; numbers on {split.name} would not be those of unseen images")
    return bool(shared)


def _check_shared_captions(split: Split, other: Split, defects: Defects) -> None:
    """Reports images of one split that have all captions of an image of another split."""
    index = {captions: i for i, captions in enumerate(_captions_of(other))}
    shared = [(i, index[c]) for i, c in enumerate(_captions_of(split)) if len(c) > 1 and c in index]
    if shared:
        i, k = shared[0]
        what = f"{len(shared)} images have all captions of images in split {other.name}"
        hint = f"(first: {_name(split, i)}, there {_name(other, k)})"
        defects.add(split.source, "leak", f"{what} {hint}; do the captions belong to this split?")


def _captions_of(split: Split) -> list[tuple[str, ...]]:
    starts = split.caption_starts
    return [tuple(split.captions[starts[i] : starts[i + 1]]) for i in range(split.num_images)]


def _name(split: Split, image: int) -> str:
    return f"image {image}, id {split.ids[image]}"
