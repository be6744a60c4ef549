"""Writes a data set in SCAN's form from the captions of a file and the regions of its images, in any order."""

import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from itm_jax.data.forms.bottom_up import Row, checked_boxes
from itm_jax.errors import InputError
from itm_jax.files import check_space, make_directory, write_array, write_whole
from itm_jax.terminal import Bar, say
from itm_jax.vision.images import size_of
from itm_jax.vision.items import Item

# Files of a split that would be read as belonging to new features.
COMPANIONS = ("ims.npy", "boxes.npy", "num_regions.npy", "labels.json", "img_sizes.npy", "image_ids.txt")


def write_texts(out: pathlib.Path, splits: Mapping[str, Sequence[Item]]) -> None:
    """Writes the captions and the names of the images of each split.

    Raises:
        InputError: a file of that name has another content, or cannot be written.
    """
    make_directory(out)
    texts = {}
    for split, items in splits.items():
        captions = [caption for item in items for caption in item.captions]
        texts[out / f"{split}_caps.txt"] = "\n".join(captions) + "\n"
        texts[out / f"{split}_ids.txt"] = "\n".join(item.image for item in items) + "\n"
    for path, text in texts.items():
        if path.exists() and path.read_bytes() != text.encode():
            raise InputError(f"{path}: exists already with other content; pass another --out, or remove it")
    for path, text in texts.items():
        write_whole(path, text)


def write_data_set(
    rows: Iterable[Row],
    splits: Mapping[str, Sequence[Item]],
    out: pathlib.Path,
    *,
    regions: int,
    dtype: str,
    images: pathlib.Path | None = None,
) -> None:
    """Writes features, boxes, captions and names. Where {split}_ims.npy exists, the split is complete.

    Args:
        rows: the regions of the images, in any order; images that no split has are left out.
        splits: the images of each split.
        out: the directory.
        regions: of an image: further ones are cut off, and where there are fewer, zeros follow; {split}_num_regions.npy
            then says how many there are.
        dtype: of the features, float32 or float16.
        images: the folder of the images, whose sizes divide boxes in pixels.

    Raises:
        InputError: an image has no regions or two rows, widths differ, or the directory has features already.
    """
    places = Places(splits)
    for path in (out / f"{split}_{name}" for split in splits for name in COMPANIONS):
        if path.exists():
            raise InputError(f"{path}: exists already and is left as it is; pass another --out, or remove it")
    write_texts(out, splits)
    files: dict[str, np.ndarray] = {}
    counts = {split: np.zeros(len(items), np.int64) for split, items in splits.items()}
    boxes = {split: np.zeros((len(items), regions, 4), np.float32) for split, items in splits.items()}
    total, done, with_boxes = sum(map(len, splits.values())), 0, True
    with Bar("images", total) as bar:
        for row in rows:
            at = places.find(row)
            if at is None:
                continue
            split, index = at
            if not files:
                check_space(out, total * regions * row.features.shape[1] * np.dtype(dtype).itemsize)
                files = {s: _open(out, s, (len(i), regions, row.features.shape[1]), dtype) for s, i in splits.items()}
            if counts[split][index]:
                raise InputError(f"{row.where}: a second row for {splits[split][index].image}")
            if row.features.shape[1] != files[split].shape[2]:
                raise InputError(
                    f"{row.where}: features are {row.features.shape[1]} wide, earlier ones {files[split].shape[2]}"
                )
            count = min(len(row.features), regions)
            files[split][index, :count] = row.features[:count]
            counts[split][index] = count
            with_boxes = with_boxes and row.boxes is not None
            if row.boxes is not None:
                boxes[split][index, :count] = _fractions(row, splits[split][index], images)[:count]
            done += 1
            bar.update(done)
    _finish(splits, out, files, counts, boxes if with_boxes else {}, regions)


def _fractions(row: Row, item: Item, images: pathlib.Path | None) -> np.ndarray:
    """The boxes of a row, divided by the sides of the image."""
    assert row.boxes is not None
    if not row.pixels:
        return row.boxes
    if images is None:
        raise InputError(f"{row.where}: boxes in pixels; pass --images=DIR, the folder of the images, for their sizes")
    return checked_boxes(row.boxes / np.tile(np.array(size_of(images / item.image), np.float32), 2), row.where)


def _finish(splits, out, files, counts, boxes, regions) -> None:
    missing = [item.image for split, items in splits.items() for k, item in enumerate(items) if not counts[split][k]]
    if missing:
        raise InputError(
            f"{missing[0]}: no regions of this image were found ({len(missing)} such images); extract "
            "them, or remove the images from the captions"
        )
    for split in splits:
        if split in boxes:
            write_array(out / f"{split}_boxes.npy", boxes[split])
        if counts[split].min() < regions:
            write_array(out / f"{split}_num_regions.npy", counts[split])
        files[split].flush()  # a memory map
        fewer = int((counts[split] < regions).sum())
        more = f", {fewer:,} with fewer than {regions} regions" if fewer else ""
        say(f"{split}: {len(counts[split]):,} images{more}")
    for split in splits:
        path = out / f"{split}_ims.npy"
        path.with_name(f"{path.name}.tmp").replace(path)


def _open(out: pathlib.Path, split: str, shape: tuple[int, int, int], dtype: str) -> np.memmap:
    path = out / f"{split}_ims.npy.tmp"
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)


class Places:
    """Where the regions of an image go: the split and the place in it.

    A row belongs to the image of its name. A row whose name is a number belongs to the image whose name ends with that
    number (COCO), or else to the image with this number in Karpathy's file (TERAN's Flickr30K).
    """

    def __init__(self, splits: Mapping[str, Sequence[Item]]):
        """Takes the images of each split."""
        self._by_name: dict[str, list[tuple[str, int]]] = {}
        self._by_number: dict[str, list[tuple[str, int]]] = {}
        self._by_imgid: dict[str, list[tuple[str, int]]] = {}
        for split, items in splits.items():
            for index, item in enumerate(items):
                stem = pathlib.PurePosixPath(item.image).stem
                self._by_name.setdefault(stem, []).append((split, index))
                self._by_number.setdefault(number_of(stem), []).append((split, index))
                self._by_imgid.setdefault(str(item.number), []).append((split, index))

    def find(self, row: Row) -> tuple[str, int] | None:
        """Returns the split and the place of a row; None where no split has its image.

        Raises:
            InputError: several images have its name or number.
        """
        stem = pathlib.PurePosixPath(row.name).stem
        found = self._by_name.get(stem, [])
        if not found and stem.isdecimal():
            found = self._by_number.get(number_of(stem), []) or self._by_imgid.get(number_of(stem), [])
        if len(found) > 1:
            raise InputError(f"{row.where}: {row.name}: {len(found)} images have this name or number")
        return found[0] if found else None


def number_of(stem: str) -> str:
    """Returns the number at the end of a name, without zeros before it; a name without one stays as it is.

    Examples:
        >>> [number_of(n) for n in ("COCO_val2014_000000391895", "391895", "dog", "10071_e79")]
        ['391895', '391895', 'dog', '10071_e79']
    """
    number = re.fullmatch(r"(?:\D.*\D)?0*(\d+)", stem)
    return number[1] if number else stem
