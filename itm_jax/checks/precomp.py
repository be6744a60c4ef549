"""What `itm_jax.check` checks after a split is opened: all values of the features, all captions, the names of files."""

import difflib
import hashlib
import pathlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from itm_jax.data.defects import Defects
from itm_jax.data.precomp import reader as precomp
from itm_jax.data.precomp.single_files import open_features
from itm_jax.structs import Split

COMPANIONS = ("ims.npy", "caps.txt", "ids.txt", "boxes.npy", "img_sizes.npy", "labels.json", "dependencies.json")
# Files of other systems in the field. They are not read, and they do no harm.
OTHERS = ("ims_bbx.npy", "ims_size.npy", "precaps_stan.txt", "caps.json", "segmentations.npy", "seg_maps.npy")
MAX_WORDS = 300  # the longest caption of Flickr30K has 75
CHUNK = 16 << 20  # bytes
HEAD = 8192  # bytes at the beginning of a row that are compared with those of other rows


def scan_features(
    source: str, read: Callable[[int, int], np.ndarray], shape: tuple[int, ...], dtype: np.dtype, defects: Defects
) -> list[bytes]:
    """Reads all features once, in order, and reports rows with NaN or Inf and rows that are all zero.

    Args:
        source: where the features come from, for messages.
        read: (first row, number of rows) -> those rows in a new array, which is overwritten here.
        shape: [rows, r, f].
        dtype: float16 or float32.
        defects: where to report.

    Returns:
        A digest of the beginning of each row.
    """
    bits, exponent = (np.uint16, 0x7C00) if dtype.itemsize == 2 else (np.uint32, 0x7F800000)
    magnitude = bits((1 << (8 * dtype.itemsize - 1)) - 1)  # all bits but the sign
    total, rows = shape[0], max(1, CHUNK // (shape[1] * shape[2] * dtype.itemsize))
    largest: np.ndarray = np.empty(total, bits)
    digests: list[bytes] = []
    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(read, 0, min(rows, total))
        for start in range(0, total, rows):
            chunk = pending.result().view(bits).reshape(min(rows, total - start), -1)
            if start + rows < total:
                pending = ahead.submit(read, start + rows, min(rows, total - start - rows))
            head = np.ascontiguousarray(chunk[:, : HEAD // dtype.itemsize])
            digests += [hashlib.blake2b(row, digest_size=16).digest() for row in head]
            np.bitwise_and(chunk, magnitude, out=chunk)
            largest[start : start + len(chunk)] = chunk.max(axis=1)
    defects.each(source, "row", np.flatnonzero(largest >= exponent), "not-finite", "NaN or Inf; extract it again")
    defects.each(source, "row", np.flatnonzero(largest == 0), "zero", "all features are zero; extract it again")
    return digests


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


def check_repeats(path: pathlib.Path, digests: Sequence[bytes], repeats: int, defects: Defects) -> None:
    """Reports groups of rows that should repeat one image but differ."""
    bad = [g for g in range(0, len(digests), repeats) if len(set(digests[g : g + repeats])) > 1] if repeats > 1 else []
    defects.each(path, "row", bad, "repeats", f"it and the {repeats - 1} after it have one id but different features")


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


def check_ids(path: pathlib.Path, ids: Sequence[str], stride: int, defects: Defects) -> None:
    """Reports ids that are blank or name several images; each image has `stride` lines in the file."""
    blank = [i * stride + 1 for i, name in enumerate(ids) if not name]
    defects.each(path, "line", blank, "blank", "blank; every line must be an id")
    first: dict[str, int] = {}
    for i, name in enumerate(ids):
        if name and first.setdefault(name, i) != i:
            what = f"{name} is already the id of line {first[name] * stride + 1}; every image needs an id of its own"
            defects.add(path, "duplicate", what, f"line {i * stride + 1}")


def check_names(directory: pathlib.Path, splits: Sequence[str], defects: Defects) -> None:
    """Reports files that would silently not be read, because their names are nearly those of known files."""
    known = {f"{s}_{c}" for s in splits for c in (*COMPANIONS, *OTHERS)}
    for name in sorted(p.name for p in directory.iterdir()):
        split = next((s for s in splits if name.startswith(s + "_")), None)
        if split is None or name in known:
            continue
        near = difflib.get_close_matches(name, [f"{split}_{c}" for c in COMPANIONS], 1, 0.8)
        if near and not (directory / near[0]).exists():
            defects.add(directory / name, "not-read", f"not read; should its name be {near[0]}?")


def check_split(directory: str, name: str, defects: Defects) -> tuple[Split | None, list[bytes]]:
    """Opens one split and reports all of its defects.

    Returns:
        (split, digests of its rows). The split is None where its files do not make one.
    """
    split = precomp.read_split(directory, name, defects)
    root = precomp.find_directory(directory, name)
    path, ids_file = root / f"{name}_ims.npy", root / f"{name}_ids.txt"
    digests: list[bytes] = []
    array = open_features(path, Defects(strict=False))  # its defects are already reported
    if array is not None:
        assert isinstance(array, np.memmap)
        digests = scan_features(str(path), file_reader(path, array), array.shape, array.dtype, defects)
    if split is not None:
        check_repeats(path, digests, split.rows_per_image, defects)
        check_captions(root / f"{name}_caps.txt", split.captions, defects)
        if ids_file.exists() and split.ids != [str(i) for i in range(split.num_images)]:
            lines = len(ids_file.read_bytes().splitlines())
            check_ids(ids_file, split.ids, lines // split.num_images, defects)
        digests = digests[:: split.rows_per_image]
    return split, digests


def check_together(splits: Sequence[tuple[Split, list[bytes]]], defects: Defects) -> None:
    """Reports splits that share images, or that do not seem to belong to one data set."""
    first = splits[0][0]
    for split, _ in splits[1:]:
        for what, get in (
            ("feature width", lambda s: s.features.shape[2]),
            ("regions per image", lambda s: s.features.shape[1]),
            ("captions per image", lambda s: s.captions_per_image),
        ):
            if get(split) != get(first):
                differs = f"{what} is {get(split)}, but {get(first)} in {first.source}"
                defects.add(split.source, "differs", f"{differs}; do the splits belong to one data set?")
    for k, (split, digests) in enumerate(splits):
        for other, other_digests in splits[:k]:
            if split.name == other.name:
                continue
            numbered = [s.ids[0] == "0" and s.ids[-1] == str(s.num_images - 1) for s in (split, other)]
            named = not all(numbered)  # without an ids file the ids are 0, 1, 2, ...
            mine, theirs = (split.ids, other.ids) if named else (digests, other_digests)
            shared = Counter(mine) & Counter(theirs)
            if shared:
                index = {x: i for i, x in enumerate(theirs)}
                example = next(i for i, x in enumerate(mine) if x in shared)
                same_features = f"features of image {example} and {index[mine[example]]}"
                what = f"id {split.ids[example]}" if named else same_features
                leak = f"{sum(shared.values())} images are in split {other.name} too (first: {what})"
                hint = f"numbers on {split.name} would not be those of unseen images"
                defects.add(split.source, "leak", f"{leak}; {hint}")
