"""Reads the files that a `precomp` directory may have besides features and captions: boxes, labels, dependency edges.

Each reader returns None where its file is missing, or where it is not usable and the defects are not strict.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Int

from itm_jax.data.defects import Defects
from itm_jax.data.precomp.pairing import Files
from itm_jax.data.precomp.single_files import is_there, open_array, read_list
from itm_jax.data.regions import CHUNK_BYTES, valid_regions

SMALLEST = 0.1  # where no coordinate of a file reaches this fraction of its image, the sizes of the images are wrong
BOX_LIMIT = 1.001  # the largest coordinate of a box, as a fraction of the image; a little above 1, for rounding


@dataclasses.dataclass(frozen=True)
class Companions:
    """Where the companions of a split are, and what they must fit.

    Attributes:
        files: the files of the split that are open already.
        rows: [i] the first row of each image in the file of features.
        defects: where to report what is wrong.
    """

    files: Files
    rows: Int[np.ndarray, " i"]
    defects: Defects

    @property
    def features(self) -> Any:
        """The features of all rows, [rows, r, f]."""
        return self.files.features

    def path(self, companion: str) -> pathlib.Path:
        """Returns the path of a file of the split, such as `boxes.npy`."""
        return self.files.path(companion)

    def rows_in(self, length: int) -> np.ndarray | None:
        """Returns the entry of each image in a file with this many entries: one per image, or one per row."""
        if length == len(self.rows):
            return np.arange(length)
        return self.rows if length == len(self.features) else None

    def read(self, path: pathlib.Path, *shape: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Reads an .npy file with numbers for each image: float32 [i, *shape], and the row of each image in it."""
        array = open_array(path, self.defects)
        if array is None:
            return None
        rows = self.rows_in(len(array)) if array.ndim else None
        if rows is None or array.shape[1:] != shape or array.dtype.kind not in "fiu":
            expected = (len(self.rows), *shape)
            what = f"{array.dtype} {array.shape}; expected numbers {expected}, for the images of the features"
            self.defects.add(path, "shape", what)
            return None
        return np.asarray(array[rows], np.float32), rows


def read_sizes(files: Companions) -> tuple[np.ndarray, bool] | None:
    """Reads `{split}_img_sizes.npy`: sizes [i, 2] (width, height), 1 where invalid; and whether all are valid."""
    path = files.path("img_sizes.npy")
    read = files.read(path, 2)
    if read is None:
        return None
    sizes, rows = read
    bad = ~((sizes > 0) & np.isfinite(sizes)).all(axis=1)
    files.defects.each(path, "row", rows[bad], "value", "width and height must be greater than 0")
    return np.where(bad[:, None], 1, sizes), not bad.any()


def read_num_regions(files: Companions) -> np.ndarray | None:
    """Reads `{split}_num_regions.npy`: the number of regions of each image, [i] int32; None where there is no file."""
    path, regions = files.path("num_regions.npy"), files.features.shape[1]
    if not is_there(path, files.defects):
        return None
    read = files.read(path)
    if read is None:
        return None
    numbers, rows = read
    bad = ~((numbers >= 1) & (numbers <= regions) & (numbers == np.floor(numbers)))
    files.defects.each(path, "row", rows[bad], "value", f"must be a whole number from 1 to {regions}")
    return np.where(bad, regions, numbers).astype(np.int32)


def read_boxes(files: Companions, num_regions: np.ndarray | None = None) -> np.ndarray | None:
    """Reads `{split}_boxes.npy`: boxes as fractions of the image size, [i, r, 4] float32."""
    path, sizes_path, defects = files.path("boxes.npy"), files.path("img_sizes.npy"), files.defects
    if not is_there(path, defects):
        return None
    read = files.read(path, files.features.shape[1], 4)
    has_sizes = is_there(sizes_path, defects)
    sizes = read_sizes(files) if has_sizes else None
    if read is None or (has_sizes and (sizes is None or not sizes[1])):
        return None
    boxes, rows = read
    fractions = sizes is not None and _largest(boxes) <= BOX_LIMIT
    if sizes is not None:
        boxes = boxes / np.concatenate([sizes[0], sizes[0]], axis=1)[:, None, :]
        largest = _largest(boxes)
        if fractions or largest < SMALLEST:
            what = "they are fractions already" if fractions else f"none reaches beyond {largest:.2g} of its image"
            defects.add(path, "value", f"{what}; correct or remove {sizes_path.name}, the sizes of images in pixels")
    boxes = _without_boxes_of_padding(files, boxes, num_regions)
    not_finite = ~np.isfinite(boxes).all(axis=(1, 2))
    defects.each(path, "row", rows[not_finite], "not-finite", "NaN or Inf")
    outside = ~((boxes >= 0) & (boxes <= BOX_LIMIT)).all(axis=(1, 2)) & ~not_finite
    hint = "" if has_sizes else f"; boxes in pixels need {sizes_path.name} [n, 2] (width, height)"
    if hint and files.path("ims_size.npy").exists():
        hint += f"; {files.path('ims_size.npy').name} is a pickle and is not read, {sizes_path.name} replaces it"
    defects.each(path, "row", rows[outside], "value", f"values outside [0, {BOX_LIMIT}]{hint}")
    inverted = ((boxes[..., 2] < boxes[..., 0]) | (boxes[..., 3] < boxes[..., 1])).any(axis=1) & ~outside
    defects.each(path, "row", rows[inverted], "value", "a box with x2 < x1 or y2 < y1; boxes are x1 y1 x2 y2")
    return boxes


def _largest(boxes: np.ndarray) -> float:
    """Returns the largest finite coordinate; 1 where there is none."""
    return float(np.max(boxes, initial=-np.inf, where=np.isfinite(boxes))) if np.isfinite(boxes).any() else 1.0


def _without_boxes_of_padding(files: Companions, boxes: np.ndarray, num_regions: np.ndarray | None) -> np.ndarray:
    """Returns the boxes, 0 for the padding of images that have an invalid box; padding may have any boxes."""
    invalid = ~((boxes >= 0) & (boxes <= BOX_LIMIT)).all(axis=-1)
    invalid |= (boxes[..., 2] < boxes[..., 0]) | (boxes[..., 3] < boxes[..., 1])
    images = np.flatnonzero(invalid.any(axis=1) & ~invalid[:, 0])  # the first region is never padding
    if not len(images):
        return boxes
    boxes = boxes.copy()
    for some in np.array_split(images, -(-len(images) * files.features[0].nbytes // CHUNK_BYTES)):
        valid = valid_regions(files.features[files.rows[some]], None if num_regions is None else num_regions[some])
        boxes[some] = np.where(valid[..., None], boxes[some], 0)
    return boxes


def read_labels(files: Companions, num_regions: np.ndarray | None = None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Reads `{split}_labels.json`: ([i, r] int32 indices, sorted label names), or (None, ()).

    The list of an image whose last regions are padding may end before them, or have empty names there.
    """
    path, defects, regions = files.path("labels.json"), files.defects, files.features.shape[1]
    names = read_list(path, defects)
    if names is None:
        return None, ()
    rows = files.rows_in(len(names))
    if rows is None:
        defects.add(path, "count", f"{len(names)} rows, expected {len(files.rows)} lists of {regions} label names")
        return None, ()
    lists = [_without_padding(names[row]) for row in rows]
    fits = np.array([x is not None and len(x) <= regions for x in lists])
    for image in np.flatnonzero(fits):
        count = len(lists[image])
        if count < (regions if num_regions is None else num_regions[image]):
            fits[image] = not files.features[files.rows[image], count:].any()
    defects.each(path, "row", rows[~fits], "value", f"expected a list of {regions} label names")
    if not fits.all():
        return None, ()
    vocabulary = tuple(sorted({x for labels in lists for x in labels}))
    index = {x: j for j, x in enumerate(vocabulary)}
    out = np.zeros((len(lists), regions), np.int32)
    for row, labels in zip(out, lists, strict=True):
        row[: len(labels)] = [index[x] for x in labels]
    return out, vocabulary


def _without_padding(labels: Any) -> Any:
    """Returns a list of label names without empty names at its end; None where it is no such list."""
    if not isinstance(labels, list) or not all(type(x) is str for x in labels):
        return None
    labels = labels[: max((k for k, x in enumerate(labels, 1) if x), default=0)]
    return labels if all(labels) else None


def read_edges(files: Companions, captions: list[str]) -> list[list[list[int]]] | None:
    """Reads `{split}_dependencies.json`: for each caption a list of [head, dependent] indices of whitespace words.

    Captions and lists are in the order of their files.
    """
    path, defects = files.path("dependencies.json"), files.defects
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
