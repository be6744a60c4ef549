"""Finds the rows and the captions of each image of a `precomp` directory where the order of the files tells them.

The file of ids may have one line per image, per row of the features, or per caption. It is read whole, and must agree
with the order of rows and captions. Without it, every k equal neighbouring rows are one image.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from itm_jax.data.defects import Defects
from itm_jax.data.precomp.repeats import (
    constant_size,
    equal_neighbours,
    may_be_twice,
    runs,
    runs_of_rows,
    unequal_images,
)
from itm_jax.data.precomp.single_files import is_there, read_lines
from itm_jax.data.regions import check_finite

ROW_IDS = "image_ids.txt"


@dataclasses.dataclass(frozen=True)
class Pairing:
    """What belongs to each image.

    Attributes:
        ids: i names.
        rows: [i] the first row of each image.
        captions_per_image: the number of captions of every image, or [i] numbers.
        order: [t] the captions in the order of their images; None: they are in this order already.
    """

    ids: list[str]
    rows: Int[np.ndarray, " i"]
    captions_per_image: int | Int[np.ndarray, " i"]
    order: Int[np.ndarray, " t"] | None = None


@dataclasses.dataclass(frozen=True)
class Files:
    """What a pairing is found from.

    Attributes:
        directory: of the files.
        split: the name of the split.
        features: [rows, r, f].
        num_captions: the number of captions.
        ids: the lines of `{split}_ids.txt`; None without this file.
    """

    directory: pathlib.Path
    split: str
    features: Any
    num_captions: int
    ids: Sequence[str] | None

    @property
    def num_rows(self) -> int:
        """The number of rows of the features."""
        return len(self.features)

    def path(self, companion: str) -> pathlib.Path:
        """Returns the path of a file of the split, such as `ids.txt`."""
        return self.directory / f"{self.split}_{companion}"


def counts_of(sizes: np.ndarray) -> int | np.ndarray:
    """Returns the numbers of captions of all images as one number where they are equal."""
    return int(sizes[0]) if (sizes == sizes[0]).all() else sizes


def sizes_of(starts: np.ndarray, total: int) -> np.ndarray:
    """Returns the sizes of groups that follow each other, from the first index of each and their total."""
    return np.diff(np.append(starts, total))


def pair_by_order(files: Files, defects: Defects) -> Pairing | None:
    """Returns what belongs to each image where the order of the files says so; None where the files do not fit."""
    ids = files.ids
    groups: np.ndarray | None = None  # the first line of each image, where ids have a line per row or per caption
    if ids is not None and not check_blank(files.path("ids.txt"), ids, defects):
        ids = None
    if ids is not None and len(ids) in (files.num_rows, files.num_captions):
        names = np.array(ids)
        groups = runs(names[1:] == names[:-1])
        if not _check_together(files, ids, groups, defects):
            return None
    per_row = groups is not None and ids is not None and len(ids) == files.num_rows
    starts = _images_by_row_ids(files, groups, defects) if per_row else images_by_content(files, defects)
    if starts is None:
        return None
    images = len(starts)
    counts: int | np.ndarray = files.num_captions // images
    if groups is not None and ids is not None and len(ids) == files.num_captions:
        if len(groups) != images:
            what = f"names {len(groups)} images, but {files.path('ims.npy').name} holds {images}"
            defects.add(files.path("ids.txt"), "count", f"{what}; the line of a caption must be the id of its image")
            return None
        counts = counts_of(sizes_of(groups, files.num_captions))
    elif files.num_captions % images or files.num_captions < images:
        name = files.path("ims.npy").name
        what = f"{files.num_captions} captions for {images} images in {name} cannot be shared equally"
        hint = f"{files.path('ids.txt').name} with a line per caption can say how many captions each image has"
        defects.add(files.path("caps.txt"), "count", f"{what}; {hint}")
        return None
    names_of_images = _names(files, ids, groups, images, defects)
    return Pairing(_checked_by_row_ids(files, names_of_images, starts, defects), starts, counts)


def read_row_ids(files: Files, defects: Defects) -> list[str] | None:
    """Reads `{split}_image_ids.txt`, the id of each row; None without this file, or where it is not usable."""
    path = files.path(ROW_IDS)
    lines = read_lines(path, defects) if is_there(path, defects) else None
    if lines is None:
        return None
    row_ids = [line.strip() for line in lines]
    if not check_blank(path, row_ids, defects):
        return None
    if len(row_ids) != files.num_rows:
        defects.add(path, "count", f"{len(row_ids)} lines for {files.num_rows} rows in {files.path('ims.npy').name}")
        return None
    return row_ids


def _checked_by_row_ids(files: Files, names: list[str] | None, starts: np.ndarray, defects: Defects) -> list[str]:
    """Returns the ids of the images: `names`, else those of `{split}_image_ids.txt`, else their numbers.

    It reports rows whose id in `{split}_image_ids.txt` is another one than their image has.
    """
    numbers = [str(i) for i in range(len(starts))]
    row_ids = read_row_ids(files, defects)
    if row_ids is None or (names is None and files.ids is not None):  # a file of ids with defects says nothing
        return names or numbers
    if names is None:
        names = [row_ids[row] for row in starts]
        if len(set(names)) < len(names):
            what = "several images have one id, although their features differ"
            defects.add(files.path(ROW_IDS), "duplicate", f"{what}; give every image an id of its own")
    of_rows = np.repeat(np.array(names), sizes_of(starts, files.num_rows))
    wrong = np.flatnonzero(of_rows != np.array(row_ids)) + 1
    what = "an id of another image than the files' order says"
    hint = "config.data.pairing=ids puts the captions in the order of the rows, where ids have a line per caption"
    defects.each(files.path(ROW_IDS), "line", wrong, "differs", f"{what}; {hint}")
    return names


def _names(
    files: Files, ids: Sequence[str] | None, groups: np.ndarray | None, images: int, defects: Defects
) -> list[str] | None:
    """Returns the id of each image; None where the file of ids does not say."""
    if ids is None:
        return None
    if groups is not None:
        return [ids[start] for start in groups]
    if len(ids) != images:
        what = f"{len(ids)} ids for {images} images ({files.num_rows} rows in {files.path('ims.npy').name})"
        defects.add(files.path("ids.txt"), "count", f"{what}; there must be one id per image, row or caption")
        return None
    _check_together(files, ids, np.arange(images), defects)
    return list(ids)


def _images_by_row_ids(files: Files, groups: np.ndarray | None, defects: Defects) -> np.ndarray | None:
    """Returns the first row of each image where the file of ids has a line for each row."""
    assert groups is not None
    path, sizes = files.path("ims.npy"), sizes_of(groups, files.num_rows)
    different = unequal_images(files.features, groups, np.repeat(np.arange(len(groups)), sizes))
    if len(different):
        first, size = int(groups[different[0]]), int(sizes[different[0]])
        if defects.strict:  # a row with NaN differs from the others, so look for it first
            check_finite(files.features[first : first + size], np.arange(first, first + size), str(path))
        what = f"they have one id but different features ({len(different)} such groups)"
        defects.add(path, "repeats", what, f"rows {first}..{first + size - 1}")
    # Rows that are repeated have one id; one image that a data set has twice may have two.
    # Where the groups have different sizes, two equal ones may be one image under two ids.
    few = may_be_twice(len(groups)) if (sizes == sizes[0]).all() else 0
    return groups if check_neighbours(files, groups, files.path("ids.txt"), few, defects) else None


def check_neighbours(files: Files, rows: np.ndarray, ids: pathlib.Path, few: float, defects: Defects) -> bool:
    """Reports more than a few equal neighbours among the first rows of images; returns whether there are only few.

    Args:
        files: of the split.
        rows: the first row of each image.
        ids: the file that gives these rows different ids.
        few: the number of equal neighbours that may be.
        defects: where to report.
    """
    equal = equal_neighbours(files.features, rows)
    if len(equal) <= few:
        return True
    first, second = rows[equal[0]], rows[equal[0] + 1]
    what = f"they are equal, but have different ids in {ids.name} ({len(equal)} such neighbours)"
    hint = "give the rows of one image one id, or remove the file"
    defects.add(files.path("ims.npy"), "repeats", f"{what}; {hint}", f"rows {first} and {second}")
    return False


def images_by_content(files: Files, defects: Defects) -> np.ndarray | None:
    """Returns the first row of each image where only equal neighbours can tell: every k rows are one image."""
    path, starts = files.path("ims.npy"), runs_of_rows(files.features)
    if len(starts) == 1 < files.num_rows:
        defects.add(path, "repeats", "all rows are equal; extract the features again")
        return None
    if constant_size(starts, files.num_rows):
        return starts
    sizes = sizes_of(starts, files.num_rows)
    group = int(np.argmax(sizes > 1))
    first, size = int(starts[group]), int(sizes[group])
    what = f"they are equal, but other groups of equal rows have other sizes ({int((sizes > 1).sum())} such groups)"
    hint = f"{files.path('ids.txt').name} with a line per row can say which rows are one image"
    defects.add(path, "repeats", f"{what}; {hint}", f"rows {first}..{first + size - 1}")
    return None


def check_blank(path: pathlib.Path, ids: Sequence[str], defects: Defects) -> bool:
    """Reports blank lines; returns whether there are none."""
    blank = [n for n, name in enumerate(ids, 1) if not name]
    defects.each(path, "line", blank, "blank", "blank; every line must be an id")
    return not blank


def _check_together(files: Files, ids: Sequence[str], groups: np.ndarray, defects: Defects) -> bool:
    """Reports images whose lines do not stand together; returns whether there are none."""
    first: dict[str, int] = {}
    again = [int(start) for start in groups if first.setdefault(ids[start], int(start)) != start]
    if not again:
        return True
    name = ids[again[0]]
    what = f"an id that an earlier line has too (line {again[0] + 1}: {name}, as line {first[name] + 1})"
    hint = "every image needs an id of its own, and its lines must stand together"
    if len(ids) == files.num_captions:
        hint += "; config.data.pairing=ids puts the captions of one id together"
    defects.each(files.path("ids.txt"), "line", [start + 1 for start in again], "duplicate", f"{what}; {hint}")
    return False
