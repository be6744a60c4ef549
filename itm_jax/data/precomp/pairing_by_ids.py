"""Finds the rows and the captions of each image where the ids decide, whatever the order (`data.pairing=ids`).

`{split}_ids.txt` has a line per caption. `{split}_image_ids.txt`, where it exists, has a line per row of the features.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from itm_jax.data.defects import Defects
from itm_jax.data.precomp.pairing import (
    ROW_IDS,
    Files,
    Pairing,
    check_blank,
    check_neighbours,
    counts_of,
    images_by_content,
    pair_by_order,
    read_row_ids,
)
from itm_jax.data.precomp.repeats import may_be_twice, unequal_images


def pair_by_ids(files: Files, defects: Defects) -> Pairing | None:
    """Returns what belongs to each image by the ids; None where the files do not fit.

    Where `{split}_ids.txt` has a line per image or per row, the captions are in the order of the images, as without
    `pairing=ids`. The image of a row is told by `{split}_image_ids.txt`. Without this file it is told by the file of
    ids where there is one row per caption, else by the order in which the ids first occur.
    """
    ids, path = files.ids, files.path("ids.txt")
    if ids is None:
        defects.add(path, "count", "no such file; config.data.pairing=ids needs a line with the image's id per caption")
        return None
    if len(ids) != files.num_captions:  # a line per image or row: it says nothing of captions, which are in their order
        return pair_by_order(files, defects)
    if not check_blank(path, ids, defects):
        return None
    images = _images(files, ids, defects)
    if images is None:
        return None
    names, rows = images
    few = may_be_twice(len(rows))
    told_by = files.path(ROW_IDS) if files.path(ROW_IDS).exists() else path
    if len(rows) > 1 and not check_neighbours(files, np.sort(rows), told_by, few, defects):
        return None
    number = {name: k for k, name in enumerate(names)}
    unknown = [n for n, name in enumerate(ids, 1) if name not in number]
    defects.each(path, "line", unknown, "unknown", f"an id that {files.path(ROW_IDS).name} does not have")
    if unknown:
        return None
    owner = np.array([number[name] for name in ids])
    counts = np.bincount(owner, minlength=len(names))
    missing = np.flatnonzero(counts == 0) + 1
    defects.each(files.path(ROW_IDS), "line", missing, "unknown", f"an id that {path.name} does not have")
    if len(missing):
        return None
    order = np.argsort(owner, kind="stable")
    return Pairing(names, rows, counts_of(counts), None if (owner[1:] >= owner[:-1]).all() else order)


def _images(files: Files, ids: Sequence[str], defects: Defects) -> tuple[list[str], np.ndarray] | None:
    """Returns the name and the first row of each image."""
    if files.path(ROW_IDS).exists():
        row_ids = read_row_ids(files, defects)
        if row_ids is None:
            return None
        names = list(dict.fromkeys(row_ids))
        return names, _rows_by_ids(files, row_ids, names, defects)
    names = list(dict.fromkeys(ids))
    if files.num_rows == files.num_captions:
        return names, _rows_by_ids(files, ids, names, defects)
    rows = images_by_content(files, defects)
    if rows is None:
        return None
    grouped = 1 + sum(a != b for a, b in itertools.pairwise(ids)) == len(names)
    # The first captions of all images, then the second ones, and so on.
    repeated = list(ids) == names * (len(ids) // len(names))
    if len(names) != len(rows):
        what = f"names {len(names)} images, but {files.path('ims.npy').name} holds {len(rows)}"
    elif not grouped and not repeated:
        what = "does not tell which image each row of the features is"
    else:
        return names, rows
    hint = f"{files.path(ROW_IDS).name} with the id of each row can say it"
    defects.add(files.path("ids.txt"), "count", f"{what}; {hint}")
    return None


def _rows_by_ids(files: Files, row_ids: Sequence[str], names: Sequence[str], defects: Defects) -> np.ndarray:
    """Returns the first row of each name, and reports names whose rows differ."""
    number = {name: k for k, name in enumerate(names)}
    owner = np.array([number[name] for name in row_ids])
    rows = np.unique(owner, return_index=True)[1]
    different = unequal_images(files.features, rows, owner)
    if len(different):
        what = f"the rows of the id {names[different[0]]} differ ({len(different)} such ids)"
        defects.add(files.path("ims.npy"), "repeats", f"{what}; rows of one id must be equal")
    return rows
