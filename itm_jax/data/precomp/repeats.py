"""Finds rows of a file of features that repeat one image: SCAN's dev and test files have each image 5 times."""

import hashlib
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from itm_jax.data.elsewhere import RowsElsewhere
from itm_jax.data.regions import is_small

HEAD_BYTES = 4096  # bytes at the beginning of a row that are compared first
CHUNK_BYTES = 64 << 20
FEW_TWICE = 0.01  # the share of images that a data set may have twice; published ones have a few
SAMPLED = 256  # pairs of rows that are compared in a larger file


def may_be_twice(images: int) -> float:
    """Returns how many images of so many a split may have twice when it is opened; `itm_jax.check` is stricter."""
    return max(1, FEW_TWICE * images)


def equal_rows(
    features: Any, first: Int[np.ndarray, " n"], second: Int[np.ndarray, " n"], *, whole: bool = True
) -> Bool[np.ndarray, " n"]:
    """Returns whether the rows `first` and `second` of [rows, r, f] hold the same bits, pair by pair.

    Without `whole` only the beginnings of the rows are compared.
    """
    size = int(np.prod(features.shape[1:]))
    head = HEAD_BYTES // features.dtype.itemsize
    equal = np.empty(len(first), bool)
    step = max(1, CHUNK_BYTES // (size * features.dtype.itemsize))
    for start in range(0, len(first), step):
        a, b = first[start : start + step], second[start : start + step]
        same = _same_bits(_beginnings(features, a, head), _beginnings(features, b, head))
        if whole and size > head and same.any():
            same[same] = _same_bits(_beginnings(features, a[same], size), _beginnings(features, b[same], size))
        equal[start : start + step] = same
    return equal


def _beginnings(features: Any, rows: np.ndarray, values: int) -> np.ndarray:
    """The first values of some rows, [n, values]; a memory map reads no more than these."""
    if isinstance(features, RowsElsewhere):
        return features[rows].reshape(len(rows), -1)[:, :values]
    return features.reshape(len(features), -1)[rows, :values]


def _same_bits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    bits = np.dtype(f"u{a.dtype.itemsize}")  # NaN differs from itself, its bits do not
    return (np.ascontiguousarray(a).view(bits) == np.ascontiguousarray(b).view(bits)).all(axis=1)


def runs(equal: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " g"]:
    """Returns the starts of the runs of equal neighbours, where `equal[k]` says whether k and k + 1 are equal."""
    return np.flatnonzero(np.concatenate([[True], ~equal]))


def runs_of_rows(features: Any) -> Int[np.ndarray, " g"]:
    """Returns the first row of each run of equal neighbouring rows of [rows, r, f].

    Of a large file some neighbours are compared first. If none of them are equal, no others are compared: a few
    repeats between them are then not seen. Otherwise the beginnings of all neighbours are compared. A sample of the
    equal ones is then compared in full; if one of them differs, all are.
    """
    pairs = np.arange(len(features) - 1)
    if is_small(features):
        return runs(equal_rows(features, pairs, pairs + 1))
    some = spread(pairs)
    if not equal_rows(features, some, some + 1, whole=False).any():
        return np.arange(len(features))
    equal = equal_rows(features, pairs, pairs + 1, whole=False)
    some = spread(np.flatnonzero(equal))
    if not equal_rows(features, some, some + 1).all():
        equal = equal_rows(features, pairs, pairs + 1)
    return runs(equal)


def constant_size(starts: Int[np.ndarray, " g"], rows: int) -> int | None:
    """Returns the length of the runs with these starts; None where they have different lengths."""
    sizes = np.unique(np.diff(np.append(starts, rows)))
    return int(sizes[0]) if len(sizes) == 1 else None


def equal_neighbours(features: Any, rows: Int[np.ndarray, " i"]) -> Int[np.ndarray, " k"]:
    """Returns the places k in `rows` where the rows k and k + 1 of [rows, r, f] are equal and finite.

    Of a large file some neighbours are compared first; if none of them are equal, no others are compared.
    """
    places = np.arange(len(rows) - 1)
    if not is_small(features) and len(places):
        some = spread(places)
        if not equal_rows(features, rows[some], rows[some + 1], whole=False).any():
            return np.zeros(0, int)
    equal = places[equal_rows(features, rows[places], rows[places + 1])]
    return np.array([k for k in equal if np.isfinite(features[rows[k]]).all()], int)


def repeated_rows(features: Any) -> list[tuple[int, int]]:
    """Returns (earlier, later) for every row of [rows, r, f] that is equal to an earlier one, near it or not."""
    first: dict[bytes, int] = {}
    pairs: list[tuple[int, int]] = []
    step = max(1, CHUNK_BYTES // features[0].nbytes)
    for start in range(0, len(features), step):
        chunk = np.ascontiguousarray(features[start : start + step])
        for row, values in enumerate(chunk, start):
            digest = hashlib.blake2b(values, digest_size=16).digest()
            if first.setdefault(digest, row) != row:
                pairs.append((first[digest], row))
    return pairs


def spread(values: np.ndarray) -> np.ndarray:
    """Returns at most SAMPLED of the values, evenly spread; the first one and the last one are among them."""
    return values[np.unique(np.linspace(0, len(values) - 1, min(SAMPLED, len(values))).astype(int))]


def unequal_images(
    features: Any, first: Int[np.ndarray, " i"], owner: Int[np.ndarray, " rows"]
) -> Int[np.ndarray, " k"]:
    """Returns the images whose rows are not all equal; of a large file only some rows are compared.

    Args:
        features: [rows, r, f].
        first: the first row of each image.
        owner: the image of each row.
    """
    others = np.setdiff1d(np.arange(len(owner)), first)
    if not is_small(features) and len(others):
        others = spread(others)
    equal = equal_rows(features, first[owner[others]], others)
    return np.unique(owner[others[~equal]])
