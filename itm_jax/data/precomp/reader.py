"""Reads SCAN's `precomp` directories: `{split}_ims.npy`, `{split}_caps.txt`, `{split}_ids.txt` and companions.

Features stay on disk (memory-mapped): opening COCO's 33 GB train file costs no anonymous memory. The same code opens a
split for training, where the first defect is an error, and for `itm_jax.check`, which lists all defects.
"""

import pathlib
from typing import Any, NamedTuple

import numpy as np

from itm_jax.data.defects import STRICT, Defects
from itm_jax.data.elsewhere import Features, RowsElsewhere, SomeRows
from itm_jax.data.precomp.captions import read_captions
from itm_jax.data.precomp.companions import Companions, read_boxes, read_edges, read_labels, read_num_regions
from itm_jax.data.precomp.pairing import Files, pair_by_order
from itm_jax.data.precomp.pairing_by_ids import pair_by_ids
from itm_jax.data.precomp.repeats import may_be_twice, repeated_rows
from itm_jax.data.precomp.single_files import FEATURES, is_there, open_features, read_lines, require
from itm_jax.data.regions import check_regions, is_small
from itm_jax.errors import InputError
from itm_jax.structs import Extractor, Split
from itm_jax.vision import identity

# Files that people have in place of `{split}_ims.npy`, and what they are.
OTHER_FORMS = {
    "*.tsv*": "features of bottom-up attention, a TSV file",
    "*.npz": "features in an .npz file",
    "*.h5": "features in an HDF5 file",
    "*.hdf5": "features in an HDF5 file",
    "*.lmdb": "features in an LMDB file",
    "*.pt": "features in a file of PyTorch",
    "*.pth": "features in a file of PyTorch",
    "*.pkl": "a pickle",
    "dataset*.json": "Karpathy's captions and splits, without features",
    "*.npy": "an array with another name",
    "*.jpg": "images, without features",
    "*.png": "images, without features",
}

PAIRINGS = {"order": pair_by_order, "ids": pair_by_ids}  # the values of `data.pairing`


def splits_in(root: pathlib.Path) -> list[str]:
    """Returns the names of the splits in a directory and in its `precomp/`, sorted."""
    return sorted({p.name.removesuffix("_ims.npy") for p in (*root.glob("*_ims.npy"), *root.glob("precomp/*_ims.npy"))})


class Place(NamedTuple):
    """Where the files of a split lie.

    Attributes:
        directory: has all of them, or all but the features.
        features: those that lie elsewhere; None: they are in the directory.
    """

    directory: pathlib.Path
    features: RowsElsewhere | None = None

    def open_features(self, split: str, defects: Defects = STRICT) -> Features | None:
        """Returns the features of the split; None where they are not usable and the defects are not strict."""
        return open_features(self.directory / (split + FEATURES), defects) if self.features is None else self.features


def place_of(directory: str | Place, split: str) -> Place:
    """Returns where the files of a split lie, given its directory or the one above its `precomp/`."""
    return directory if isinstance(directory, Place) else Place(find_directory(directory, split))


def find_directory(directory: str, split: str) -> pathlib.Path:
    """Returns `directory` or `directory/precomp`, whichever holds the split's features."""
    root = pathlib.Path(directory).expanduser()
    require(root, split)
    for candidate in (root, root / "precomp"):
        if (candidate / (split + FEATURES)).exists():
            return candidate
    splits = splits_in(root)
    hint = f"; splits found there: {', '.join(splits)}" if splits else _other_forms(root)
    raise InputError(f"{root / f'{split}_ims.npy'}: no such file{hint}")


def _other_forms(root: pathlib.Path) -> str:
    """Says what a directory holds instead of features in our form; empty where it holds nothing known."""
    for pattern, what in OTHER_FORMS.items():
        path = next((p for p in sorted(root.glob(pattern)) if p.is_file()), None)
        if path is not None:
            return f"; {path.name} found there: {what}; docs/data.md (Other forms) shows how to write ours"
    return ""


def _rows_of_images(features: Any, rows: np.ndarray) -> Any:
    """Returns the features of the images, whose first rows are `rows`; they stay where they are."""
    if isinstance(features, RowsElsewhere):
        return features if len(rows) == len(features) else SomeRows(features, rows)
    step = len(features) // len(rows)
    return features[::step] if np.array_equal(rows, range(0, len(features), step)) else SomeRows(features, rows)


def read_split(
    directory: str | Place, split: str, defects: Defects = STRICT, *, pairing: str = "order"
) -> Split | None:
    """Opens one split.

    Args:
        directory: the directory, or the one above its `precomp/`, or the place of the split.
        split: `train`, `dev`, `test`, `testall`, or any other prefix of the files.
        defects: where to report what is wrong.
        pairing: what says which captions belong to an image, the order of the files or the ids; `data.pairing`.

    Returns:
        The split, with memory-mapped features; rows that are repeated in the file occur once. None where the defects
        are not strict and features and captions do not fit together.

    Raises:
        InputError: the features are missing; with strict defects also where a file is missing or damaged, or counts,
            widths or values do not fit. The message names file and row.
    """
    place = place_of(directory, split)
    root = place.directory
    path, ids_path = root / f"{split}_ims.npy", root / f"{split}_ids.txt"
    features = place.open_features(split, defects)
    captions = read_captions(root / f"{split}_caps.txt", defects)
    ids = read_lines(ids_path, defects) if is_there(ids_path, defects) else None
    if features is None or captions is None:
        return None
    ids = None if ids is None else [line.strip() for line in ids]
    files = Files(root, split, features, len(captions), ids)
    if pairing not in PAIRINGS:
        raise InputError(f"config.data.pairing={pairing!r}: must be one of {', '.join(PAIRINGS)}")
    paired = PAIRINGS[pairing](files, defects)
    if paired is None:
        return None
    rows, order = paired.rows, paired.order
    in_order = lambda items: items if order is None else [items[c] for c in order]  # noqa: E731
    companions = Companions(files, rows, defects)
    num_regions = read_num_regions(companions)
    labels, label_names = read_labels(companions, num_regions)
    edges = read_edges(companions, captions)
    out = Split(
        name=split,
        features=_rows_of_images(features, rows),
        captions=in_order(captions),
        captions_per_image=paired.captions_per_image,
        ids=paired.ids,
        boxes=read_boxes(companions, num_regions),
        labels=labels,
        label_names=label_names,
        edges=None if edges is None else in_order(edges),
        num_regions=num_regions,
        source=str(path),
        rows=None if len(rows) == len(features) else rows,
        lines=None if order is None else order + 1,
        extractor=_read_extractor(root, defects),
    )
    if defects.strict and is_small(features):
        check_regions(out)
        _check_repeated(out, pairing)
    return out


def _read_extractor(root: pathlib.Path, defects: Defects) -> Extractor | None:
    try:
        return identity.read(root)
    except InputError as e:
        if not any(defect.kind == "extractor" for defect in defects.records):  # once, not for every split
            defects.add_error(e, "extractor")
        return None


def _check_repeated(split: Split, pairing: str) -> None:
    """Raises InputError where more than a few images have the features of another one."""
    pairs = repeated_rows(split.features)
    if len(pairs) > may_be_twice(split.num_images):
        first, later = (int(split.rows_of(np.array([image]))[0]) for image in pairs[0])
        raise InputError(
            f"{split.source}: rows {first} and {later}: they are equal, but count as two images ({len(pairs)} of "
            f"{split.num_images} images have the features of an earlier one); "
            + (
                "give the rows of one image one id"
                if pairing == "ids"
                else "remove them; if rows are repeated, config.data.pairing=ids puts those of one id together"
            )
        )
