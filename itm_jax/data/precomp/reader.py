"""Reads SCAN's `precomp` directories: `{split}_ims.npy`, `{split}_caps.txt`, `{split}_ids.txt` and companions.

Features stay on disk (memory-mapped): opening COCO's 33 GB train file costs no anonymous memory. The same code opens a
split for training, where the first defect is an error, and for `itm_jax.check`, which lists all defects.
"""

import pathlib

import numpy as np

from itm_jax.data.defects import STRICT, Defects
from itm_jax.data.precomp.companions import read_boxes, read_edges, read_labels
from itm_jax.data.precomp.single_files import open_features, read_captions, read_lines, require
from itm_jax.errors import InputError
from itm_jax.structs import Split

FULL_SCAN_BYTES = 2 << 30  # files up to this size are scanned for NaN when opened, larger ones batch by batch


def splits_in(root: pathlib.Path) -> list[str]:
    """Returns the names of the splits in a directory and in its `precomp/`, sorted."""
    return sorted({p.name.removesuffix("_ims.npy") for p in (*root.glob("*_ims.npy"), *root.glob("precomp/*_ims.npy"))})


def find_directory(directory: str, split: str) -> pathlib.Path:
    """Returns `directory` or `directory/precomp`, whichever holds the split's features."""
    root = pathlib.Path(directory).expanduser()
    require(root, split)
    for candidate in (root, root / "precomp"):
        if (candidate / f"{split}_ims.npy").exists():
            return candidate
    splits = splits_in(root)
    hint = f"; splits found there: {', '.join(splits)}" if splits else ""
    raise InputError(f"{root / f'{split}_ims.npy'}: no such file{hint}")


def row_repeats(
    features: np.ndarray, ids: list[str] | None, num_captions: int, path: pathlib.Path, defects: Defects = STRICT
) -> int:
    """Returns the number of rows that the file has for each image: 1, or more equal ones (5 in SCAN's dev and test).

    Args:
        features: [rows, r, f].
        ids: lines of the file of ids, None without one; they show repeats where there is one per row.
        num_captions: rows are repeated only where there is one per caption.
        path: of the features.
        defects: where to report rows of one id that differ, or groups of ids of unequal length.
    """
    rows = len(features)
    if rows != num_captions:
        return 1
    names = ids if ids is not None and len(ids) == rows else None
    k = 5 if names is None else next((j for j in range(1, rows) if names[j] != names[0]), rows)
    if k == 1 or (rows % k and names is None):
        return 1
    same_id = [] if names is None else [names[start : start + k] for start in range(0, rows, k)]
    mixed = [g for g, group in enumerate(same_id) if len(group) < k or len(set(group)) > 1]
    if mixed:
        first = mixed[0] * k + 1
        where = f"lines {first}..{min(first + k - 1, rows)}"
        what = f"not one id {k} times, as at the file's start ({len(mixed)} such groups)"
        defects.add(ids_path(path), "repeats", what, where)
        return k if rows % k == 0 else 1
    starts = np.unique(np.linspace(0, rows // k - 1, 64).astype(int)) * k
    same = np.array([all(np.array_equal(features[g], features[g + j]) for j in range(1, k)) for g in starts])
    if same.all():
        return k
    if names is not None:
        row = int(starts[~same][0])
        if defects.strict:  # NaN differs from itself, so look for it first
            check_finite(features[row : row + k], np.arange(row, row + k), str(path))
            where = f"rows {row}..{row + k - 1}"
            defects.add(path, "repeats", "they have one id but different features", where)
        return k
    return 1


def ids_path(features: pathlib.Path) -> pathlib.Path:
    """Returns the path of the file of ids beside a file of features."""
    return features.with_name(features.name.replace("_ims.npy", "_ids.txt"))


def check_finite(features: np.ndarray, rows: np.ndarray, source: str) -> None:
    """Raises InputError that names the first of `rows` (numbers of rows in the file) that holds NaN or Inf."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(features, dtype=np.float32)):
            return
    bad = ~np.isfinite(features).reshape(len(features), -1).all(axis=1)
    if bad.any():
        STRICT.each(source, "row", np.asarray(rows)[bad], "not-finite", "NaN or Inf; extract it again")


def scan_small(features: np.ndarray, path: pathlib.Path) -> None:
    """Raises InputError where a file of at most FULL_SCAN_BYTES holds NaN or Inf."""
    if features.nbytes <= FULL_SCAN_BYTES:
        step = max(1, (64 << 20) // features[0].nbytes)
        for start in range(0, len(features), step):
            check_finite(features[start : start + step], np.arange(start, min(start + step, len(features))), str(path))


def read_split(directory: str, split: str, defects: Defects = STRICT) -> Split | None:
    """Opens one split.

    Args:
        directory: the directory, or the one above its `precomp/`.
        split: `train`, `dev`, `test`, `testall`, or any other prefix of the files.
        defects: where to report what is wrong.

    Returns:
        The split, with memory-mapped features; rows that are repeated in the file occur once. None where the defects
        are not strict and features and captions do not fit together.

    Raises:
        InputError: the features are missing; with strict defects also where a file is missing or damaged, or counts,
            widths or values do not fit. The message names file and row.
    """
    root = find_directory(directory, split)
    path = root / f"{split}_ims.npy"
    captions_path, ids_file = root / f"{split}_caps.txt", root / f"{split}_ids.txt"
    features = open_features(path, defects)
    captions = read_captions(captions_path, defects)
    ids = read_lines(ids_file, defects) if ids_file.exists() else None
    if features is None or captions is None:
        return None
    ids = None if ids is None else [line.strip() for line in ids]
    repeats = row_repeats(features, ids, len(captions), path, defects)
    images = len(features) // repeats
    if len(captions) % images or len(captions) < images:
        what = f"{len(captions)} captions for {images} images in {path.name}"
        defects.add(captions_path, "count", f"{what}; each image must have the same number of captions")
        return None
    if ids is not None and len(ids) not in (len(features), images, len(captions)):
        what = f"{len(ids)} ids for {images} images ({len(features)} rows in {path.name})"
        defects.add(ids_file, "count", f"{what}; there must be one id per image, row or caption")
        ids = None
    if defects.strict:
        scan_small(features, path)
    shape = (images, features.shape[1])
    labels, label_names = read_labels(root, split, shape, repeats, defects)
    return Split(
        name=split,
        features=features[::repeats],
        captions=captions,
        captions_per_image=len(captions) // images,
        ids=ids[:: len(ids) // images] if ids is not None else [str(i) for i in range(images)],
        boxes=read_boxes(root, split, shape, repeats, defects),
        labels=labels,
        label_names=label_names,
        edges=read_edges(root, split, captions, defects),
        source=str(path),
        rows_per_image=repeats,
    )
