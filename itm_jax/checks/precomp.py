"""What `itm_jax.check` checks after a split is opened: all values of the features, all captions, the names of files."""

import dataclasses
import difflib
import hashlib
import pathlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from itm_jax.data.defects import Defects
from itm_jax.data.precomp import reader as precomp
from itm_jax.data.precomp.captions import read_captions
from itm_jax.data.regions import valid_regions
from itm_jax.errors import InputError
from itm_jax.structs import Split

COMPANIONS = (
    "ims.npy",
    "caps.txt",
    "ids.txt",
    "image_ids.txt",
    "num_regions.npy",
    "boxes.npy",
    "img_sizes.npy",
    "labels.json",
    "dependencies.json",
)
# Names that people give to these files.
ALIASES = dict.fromkeys(("num_boxes.npy", "num_bbox.npy", "nums.npy", "lens.npy"), "num_regions.npy")
ALIASES |= {name: name for name in COMPANIONS}  # in other letters, large or small
ALIASES |= {"id.txt": "ids.txt", "captions.txt": "caps.txt", "bbox.npy": "boxes.npy", "bboxes.npy": "boxes.npy"}
# Files of other systems in the field. They are not read, and they do no harm.
OTHERS = ("ims_bbx.npy", "ims_size.npy", "precaps_stan.txt", "caps.json", "segmentations.npy", "seg_maps.npy")
MAX_WORDS = 300  # the longest caption of Flickr30K has 75
CHUNK = 16 << 20  # bytes
HEAD = 64  # values of each region of an image that are compared with those of other images


def scan_features(
    source: str,
    read: Callable[[int, int], np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    defects: Defects,
    num_regions: np.ndarray | None = None,
) -> tuple[list[bytes], np.ndarray]:
    """Reads all features once, in order, and reports rows with NaN or Inf and rows that are all zero.

    Args:
        source: where the features come from, for messages.
        read: (first row, number of rows) -> those rows in a new array, which is overwritten here.
        shape: [rows, r, f].
        dtype: float16 or float32.
        defects: where to report.
        num_regions: the number of regions of each row; the others are not looked at, nor are rows with 0. None: all.

    Returns:
        A digest of the beginnings of all regions of each row, equal for float16 and float32 and whatever the padding,
        and empty where all features are zero; and [rows], the number of regions of each row, without padding.
    """
    bits, exponent = (np.uint16, 0x7C00) if dtype.itemsize == 2 else (np.uint32, 0x7F800000)
    magnitude = bits((1 << (8 * dtype.itemsize - 1)) - 1)  # all bits but the sign
    total, rows = shape[0], max(1, CHUNK // (shape[1] * shape[2] * dtype.itemsize))
    largest: np.ndarray = np.empty(total, bits)
    regions = np.full(total, shape[1])
    digests: list[bytes] = []
    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(read, 0, min(rows, total))
        for start in range(0, total, rows):
            chunk = pending.result().view(bits).reshape(min(rows, total - start), -1)
            if start + rows < total:
                pending = ahead.submit(read, start + rows, min(rows, total - start - rows))
            if num_regions is not None:
                valid = np.arange(shape[1]) < num_regions[start : start + len(chunk), None]
                chunk.reshape(-1, *shape[1:])[~valid] = 0
            digests += _digests(chunk.reshape(-1, *shape[1:])[:, :, :HEAD].view(dtype).reshape(len(chunk), -1))
            np.bitwise_and(chunk, magnitude, out=chunk)
            largest[start : start + len(chunk)] = chunk.max(axis=1)
            padded = np.flatnonzero(chunk[:, -shape[2] :].max(axis=1) == 0)
            if len(padded):
                regions[start + padded] = valid_regions(chunk[padded].view(dtype).reshape(-1, *shape[1:])).sum(axis=1)
    defects.each(source, "row", np.flatnonzero(largest >= exponent), "not-finite", "NaN or Inf; extract it again")
    empty = largest == 0
    if num_regions is not None:
        empty &= num_regions > 0
    defects.each(source, "row", np.flatnonzero(empty), "zero", "all features are zero; extract it again")
    return digests, regions


def _digests(heads: np.ndarray) -> list[bytes]:
    """Returns a digest of each row of [rows, values], equal for float16 and float32; zeros at the end do not count."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = heads.astype(np.float16)
        held = np.isfinite(half).all(axis=1) & (np.abs(half).max(axis=1) > 1e-3)  # float16 holds their values
    values = [(half[k] if held[k] else heads[k]).tobytes().rstrip(b"\0") for k in range(len(heads))]
    return [hashlib.blake2b(x, digest_size=16).digest() if x else b"" for x in values]


def with_counts(split: Split, regions: np.ndarray) -> Split:
    """Returns a split with the numbers of regions of its images; the same where none of them is padded."""
    if split.num_regions is not None:
        regions = np.minimum(regions, split.num_regions)
    return split if (regions == split.features.shape[1]).all() else dataclasses.replace(split, num_regions=regions)


def file_reader(path: pathlib.Path, array: np.memmap) -> Callable[[int, int], np.ndarray]:
    """Returns a reader of the rows of a memory-mapped .npy file: (first row, number of rows) -> rows.

    It reads the file in order with ordinary reads, which is several times faster than page faults.
    """
    row = array[0].size

    def read(start: int, count: int) -> np.ndarray:
        with path.open("rb") as f:
            f.seek(array.offset + start * row * array.dtype.itemsize)
            return np.fromfile(f, array.dtype, count * row)

    return read


def check_captions(path: pathlib.Path, captions: Sequence[str], defects: Defects) -> None:
    """Reports captions with more than MAX_WORDS words, and captions with characters that do not belong in a text."""
    numbered = list(enumerate(captions, 1))
    long = [n for n, c in numbered if len(c) > 2 * MAX_WORDS and len(c.split()) > MAX_WORDS]
    defects.each(path, "line", long, "too-long", f"more than {MAX_WORDS} words; are line ends missing?")
    lost = [n for n, c in numbered if "\ufffd" in c]
    defects.each(
        path, "line", lost, "characters", "holds U+FFFD, a character lost in decoding; decode the original again"
    )
    control = [n for n, c in numbered if not c.isprintable() and any(x < " " and x != "\t" for x in c)]
    defects.each(
        path, "line", control, "characters", "holds control characters; are the line ends those of another system?"
    )


def check_names(directory: pathlib.Path, splits: Sequence[str], defects: Defects) -> None:
    """Reports files that would silently not be read, because their names are nearly those of known files."""
    known = {f"{s}_{c}" for s in splits for c in (*COMPANIONS, *OTHERS)}
    for name in sorted(p.name for p in directory.iterdir()):
        split = next((s for s in splits if name.startswith(s + "_")), None)
        if split is None or name in known:
            continue
        meant = ALIASES.get(name.removeprefix(f"{split}_").lower())
        if meant and not (directory / f"{split}_{meant}").exists():
            defects.add(directory / name, "not-read", f"not read; should its name be {split}_{meant}?")
            continue
        near = difflib.get_close_matches(name, [f"{split}_{c}" for c in COMPANIONS], 1, 0.8)
        if near and not (directory / near[0]).exists():
            defects.add(directory / name, "not-read", f"not read; should its name be {near[0]}?")


def check_places(directory: str, splits: Sequence[str], defects: Defects) -> None:
    """Reports files that are not read because the features of their split are in the other directory."""
    root = pathlib.Path(directory).expanduser()
    for split in splits:
        try:
            home = precomp.find_directory(directory, split)
        except InputError:
            continue
        other = root if home != root else root / "precomp"
        for companion in COMPANIONS:
            path = other / f"{split}_{companion}"
            if path.exists():
                defects.add(
                    path, "not-read", f"not read, because the features of {split} are in {home}; move or remove it"
                )


def check_split(
    directory: str | precomp.Place, name: str, defects: Defects, *, pairing: str = "order"
) -> tuple[Split | None, list[bytes]]:
    """Opens one split and reports all of its defects.

    Returns:
        (split, digests of its images). The split is None where its files do not make one.
    """
    split = precomp.read_split(directory, name, defects, pairing=pairing)
    place = precomp.place_of(directory, name)
    root = place.directory
    path, regions = root / f"{name}_ims.npy", np.zeros(0, int)
    digests: list[bytes] = []
    quiet = Defects(strict=False)  # their defects are already reported
    array, captions = place.open_features(name, quiet), read_captions(root / f"{name}_caps.txt", quiet)
    if array is not None:
        limits = None
        if split is not None and split.num_regions is not None:  # other rows of an image are equal to its first one
            limits = np.zeros(len(array), int)
            limits[split.rows_of(np.arange(split.num_images))] = split.num_regions
        in_rows = lambda start, count: np.array(array[start : start + count])  # noqa: E731
        read = file_reader(path, array) if isinstance(array, np.memmap) else in_rows
        digests, regions = scan_features(str(path), read, array.shape, array.dtype, defects, limits)
    if captions is not None:
        check_captions(root / f"{name}_caps.txt", captions, defects)
    if split is not None:
        rows = split.rows_of(np.arange(split.num_images))
        digests, split = [digests[row] for row in rows], with_counts(split, regions[rows])
    return split, digests
