"""Reads the files that a `precomp` directory may have besides features and captions: boxes, labels, dependency edges.

Each reader returns None where its file is missing, or where it is not usable and the defects are not strict.
"""

import pathlib

import numpy as np

from itm_jax.data.defects import STRICT, Defects
from itm_jax.data.precomp.single_files import read_list, read_rows

BOX_LIMIT = 1.001  # the largest coordinate of a box, as a fraction of the image; a little above 1, for rounding


def read_sizes(
    path: pathlib.Path, images: int, repeats: int, defects: Defects = STRICT
) -> tuple[np.ndarray, bool] | None:
    """Reads `{split}_img_sizes.npy`: sizes [i, 2] (width, height), 1 where invalid; and whether all are valid."""
    read = read_rows(path, (images, 2), repeats, defects)
    if read is None:
        return None
    sizes, stride = read
    bad = ~((sizes > 0) & np.isfinite(sizes)).all(axis=1)
    defects.each(path, "row", np.flatnonzero(bad) * stride, "value", "width and height must be greater than 0")
    return np.where(bad[:, None], 1, sizes), not bad.any()


def read_boxes(
    directory: pathlib.Path, split: str, shape: tuple[int, int], repeats: int, defects: Defects = STRICT
) -> np.ndarray | None:
    """Reads `{split}_boxes.npy`: boxes as fractions of the image size, [i, r, 4] float32."""
    path, sizes_path = directory / f"{split}_boxes.npy", directory / f"{split}_img_sizes.npy"
    if not path.exists():
        return None
    images, regions = shape
    read = read_rows(path, (images, regions, 4), repeats, defects)
    sizes = read_sizes(sizes_path, images, repeats, defects) if sizes_path.exists() else None
    if read is None or (sizes_path.exists() and (sizes is None or not sizes[1])):
        return None
    boxes, stride = read
    not_finite = ~np.isfinite(boxes).all(axis=(1, 2))
    defects.each(path, "row", np.flatnonzero(not_finite) * stride, "not-finite", "NaN or Inf")
    if sizes is not None:
        boxes = boxes / np.concatenate([sizes[0], sizes[0]], axis=1)[:, None, :]
    outside = ~((boxes >= 0) & (boxes <= BOX_LIMIT)).all(axis=(1, 2)) & ~not_finite
    hint = "" if sizes_path.exists() else f"; boxes in pixels need {sizes_path.name} [n, 2] (width, height)"
    if hint and (directory / f"{split}_ims_size.npy").exists():
        hint += f"; {split}_ims_size.npy is a pickle and is not read, {sizes_path.name} replaces it"
    defects.each(path, "row", np.flatnonzero(outside) * stride, "value", f"values outside [0, {BOX_LIMIT}]{hint}")
    inverted = ((boxes[..., 2] < boxes[..., 0]) | (boxes[..., 3] < boxes[..., 1])).any(axis=1) & ~outside
    defects.each(path, "row", np.flatnonzero(inverted) * stride, "value", "a box with x2 < x1 or y2 < y1")
    return boxes


def read_labels(
    directory: pathlib.Path, split: str, shape: tuple[int, int], repeats: int, defects: Defects = STRICT
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Reads `{split}_labels.json`: ([i, r] int32 indices, sorted label names), or (None, ())."""
    path = directory / f"{split}_labels.json"
    names = read_list(path, defects)
    if names is None:
        return None, ()
    images, regions = shape
    if len(names) not in (images, images * repeats):
        defects.add(path, "count", f"{len(names)} rows, expected {images} lists of {regions} label names")
        return None, ()
    stride = len(names) // images
    names = names[::stride]
    fits = [isinstance(row, list) and len(row) == regions and all(type(x) is str and x for x in row) for row in names]
    bad = [i * stride for i, ok in enumerate(fits) if not ok]
    defects.each(path, "row", bad, "value", f"expected a list of {regions} label names")
    if bad:
        return None, ()
    vocabulary = tuple(sorted({x for row in names for x in row}))
    index = {x: j for j, x in enumerate(vocabulary)}
    return np.array([[index[x] for x in row] for row in names], np.int32), vocabulary


def read_edges(
    directory: pathlib.Path, split: str, captions: list[str], defects: Defects = STRICT
) -> list[list[list[int]]] | None:
    """Reads `{split}_dependencies.json`: for each caption a list of [head, dependent] indices of whitespace words."""
    path = directory / f"{split}_dependencies.json"
    edges = read_list(path, defects)
    if edges is None:
        return None
    if len(edges) != len(captions):
        defects.add(path, "count", f"{len(edges)} entries, expected {len(captions)}, one per caption")
        return None
    pairs = enumerate(zip(edges, captions, strict=True))
    bad = [
        i for i, (row, caption) in pairs if caption and not _fits(row, caption)
    ]  # a blank caption is reported already
    defects.each(
        path, "entry", bad, "value", "expected [head, dependent] indices below the number of its caption's words"
    )
    return None if bad else edges


def _fits(row: object, caption: str) -> bool:
    words = len(caption.split())
    return isinstance(row, list) and all(
        isinstance(edge, list) and len(edge) == 2 and all(type(w) is int and 0 <= w < words for w in edge)
        for edge in row
    )
