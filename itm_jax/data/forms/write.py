"""Writes a data set in SCAN's form from the captions of a file and the regions of its images, in any order."""

import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from itm_jax.data.forms.rows import Row
from itm_jax.errors import InputError
from itm_jax.files import check_space, write_whole
from itm_jax.terminal import Bar, say
from itm_jax.vision.items import Item


def write_texts(out: pathlib.Path, splits: Mapping[str, Sequence[Item]]) -> None:
    """Writes the captions and the names of the images of each split."""
    out.mkdir(parents=True, exist_ok=True)
    for split, items in splits.items():
        captions = [caption for item in items for caption in item.captions]
        write_whole(out / f"{split}_caps.txt", "\n".join(captions) + "\n")
        write_whole(out / f"{split}_ids.txt", "\n".join(item.image for item in items) + "\n")


def write_data_set(
    rows: Iterable[Row], splits: Mapping[str, Sequence[Item]], out: pathlib.Path, *, regions: int, dtype: str
) -> None:
    """Writes features, boxes, captions and names. The features get their names last, so that they mean: whole.

    Args:
        rows: the regions of the images, in any order; images that no split has are left out.
        splits: the images of each split.
        out: the directory.
        regions: of an image: further ones are cut off, and where there are fewer, zeros follow; {split}_num_regions.npy
            then says how many there are.
        dtype: of the features, float32 or float16.

    Raises:
        InputError: an image has no regions or two rows, widths differ, or the directory has features already.
    """
    places = Places(splits)
    for split in splits:
        if (out / f"{split}_ims.npy").exists():
            raise InputError(f"{out / f'{split}_ims.npy'}: exists already and is left as it is; pass another --out")
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
                boxes[split][index, :count] = row.boxes[:count]
            done += 1
            bar.update(done)
    _finish(splits, out, files, counts, boxes if with_boxes else {}, regions)


def _finish(splits, out, files, counts, boxes, regions) -> None:
    missing = [item.image for split, items in splits.items() for k, item in enumerate(items) if not counts[split][k]]
    if missing:
        raise InputError(f"{missing[0]}: no regions of this image were found ({len(missing)} such images)")
    for split in splits:
        if split in boxes:
            _save(out / f"{split}_boxes.npy", boxes[split])
        if counts[split].min() < regions:
            _save(out / f"{split}_num_regions.npy", counts[split])
        files[split].flush()  # type: ignore[attr-defined]  # a memory map
        path = out / f"{split}_ims.npy"
        path.with_name(f"{path.name}.tmp").replace(path)
        fewer = int((counts[split] < regions).sum())
        say(
            f"{split}: {len(counts[split]):,} images"
            + (f", {fewer:,} with fewer than {regions} regions" if fewer else "")
        )


def _open(out: pathlib.Path, split: str, shape: tuple[int, int, int], dtype: str) -> np.ndarray:
    path = out / f"{split}_ims.npy.tmp"
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)


def _save(path: pathlib.Path, value: np.ndarray) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        np.save(file, value)
    temporary.replace(path)


class Places:
    """Where the regions of an image go: the split and the place in it, by the image's name or its number."""

    def __init__(self, splits: Mapping[str, Sequence[Item]]):
        """Takes the images of each split."""
        self._by_name: dict[str, tuple[str, int]] = {}
        self._by_number: dict[str, list[tuple[str, int]]] = {}
        for split, items in splits.items():
            for index, item in enumerate(items):
                self._by_name[pathlib.PurePosixPath(item.image).stem] = split, index
                self._by_number.setdefault(number_of(item.image), []).append((split, index))

    def find(self, row: Row) -> tuple[str, int] | None:
        """Returns the split and the place of a row; None where no split has its image.

        Raises:
            InputError: several images have its number.
        """
        stem = pathlib.PurePosixPath(row.name).stem
        if stem in self._by_name:
            return self._by_name[stem]
        found = self._by_number.get(number_of(row.name), [])
        if len(found) > 1:
            raise InputError(
                f"{row.where}: {row.name}: {len(found)} images have this number; name the rows as the images"
            )
        return found[0] if found else None


def number_of(name: str) -> str:
    """Returns the last number of a name, without zeros before it, or the name without its ending.

    Examples:
        >>> [number_of(n) for n in ("val2014/COCO_val2014_000000391895.jpg", "391895", "a/dog.jpg", "10071_e79.jpg")]
        ['391895', '391895', 'dog', '10071_e79']
    """
    stem = pathlib.PurePosixPath(name).stem
    number = re.fullmatch(r"(?:\D.*\D)?0*(\d+)", stem)
    return number[1] if number else stem
