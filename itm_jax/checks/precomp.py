"""What `itm_jax.check` looks at beyond what opening a split does: every value of the features, every caption, the folder."""

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
# Files that the field's other systems put there; they are not read and do no harm.
OTHERS = ("ims_bbx.npy", "ims_size.npy", "precaps_stan.txt", "caps.json", "segmentations.npy", "seg_maps.npy")
MAX_WORDS = 300  # the longest caption of Flickr30K has 75
CHUNK = 16 << 20  # bytes
HEAD = 8192  # bytes of a row that stand for it when rows are compared


def scan_features(
    source: str, read: Callable[[int, int], np.ndarray], shape: tuple[int, ...], dtype: np.dtype, defects: Defects
) -> list[bytes]:
    """Reads all features once, in order, and reports rows with NaN or Inf and rows that are all zero.

    Args:
        source: for messages.
        read: (first row, number of rows) -> those rows, an array of its own.
        shape: [rows, r, f].
        dtype: float16 or float32.
        defects: where to report.

    Returns:
        A digest of the beginning of each row.
    """
    bits, exponent = (np.uint16, 0x7C00) if dtype.itemsize == 2 else (np.uint32, 0x7F800000)
    sign = np.array(bits(1) << (8 * dtype.itemsize - 1)) - bits(1)
    total, rows = shape[0], max(1, CHUNK // (shape[1] * shape[2] * dtype.itemsize))
    largest = np.empty(total, bits)
    digests: list[bytes] = []
    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(read, 0, min(rows, total))
        for start in range(0, total, rows):
            chunk = pending.result().view(bits).reshape(min(rows, total - start), -1)
            if start + rows < total:
                pending = ahead.submit(read, start + rows, min(rows, total - start - rows))
            head = np.ascontiguousarray(chunk[:, : HEAD // dtype.itemsize])
            digests += [hashlib.blake2b(row, digest_size=16).digest() for row in head]
            np.bitwise_and(chunk, sign, out=chunk)
            largest[start : start + len(chunk)] = chunk.max(axis=1)
    defects.each(source, "row", np.flatnonzero(largest >= exponent), "not-finite", "NaN or Inf; extract it again")
    defects.each(source, "row", np.flatnonzero(largest == 0), "zero", "all features are zero; extract it again")
    return digests


def file_reader(path: pathlib.Path, array: np.ndarray) -> Callable[[int, int], np.ndarray]:
    """Reads rows of a memory-mapped .npy file by ordinary sequential reads, several times faster than page faults."""
    row = array[0].size

    def read(start: int, count: int) -> np.ndarray:
        with path.open("rb") as f:
            f.seek(array.offset + start * row * array.dtype.itemsize)
            return np.fromfile(f, array.dtype, count * row)

    return read


def check_repeats(path: pathlib.Path, digests: Sequence[bytes], repeats: int, defects: Defects) -> None:
    """Reports groups of rows that should be one image repeated and are not."""
    bad = [g for g in range(0, len(digests), repeats) if len(set(digests[g : g + repeats])) > 1] if repeats > 1 else []
    defects.each(path, "row", bad, "repeats", f"it and the {repeats - 1} after it have one id but different features")


def check_captions(path: pathlib.Path, captions: Sequence[str], defects: Defects) -> None:
    """Reports captions that are longer than any caption, or hold characters that no text has."""
    numbered = list(enumerate(captions, 1))
    long = [n for n, c in numbered if len(c) > 2 * MAX_WORDS and len(c.split()) > MAX_WORDS]
    defects.each(path, "line", long, "too-long", f"more than {MAX_WORDS} words; are line ends missing?")
    lost = [n for n, c in numbered if "\ufffd" in c]
    defects.each(path, "line", lost, "characters", "holds U+FFFD, a character lost in decoding")
    control = [n for n, c in numbered if not c.isprintable() and any(x < " " and x != "\t" for x in c)]
    defects.each(
        path, "line", control, "characters", "holds control characters; are line ends those of another system?"
    )


def check_ids(path: pathlib.Path, ids: Sequence[str], stride: int, defects: Defects) -> None:
    """Reports ids that are blank or stand for several images; `stride` lines of the file belong to an image."""
    defects.each(path, "line", [i * stride + 1 for i, name in enumerate(ids) if not name], "blank", "blank")
    first: dict[str, int] = {}
    for i, name in enumerate(ids):
        if name and first.setdefault(name, i) != i:
            what = f"{name} is already the image of line {first[name] * stride + 1}"
            defects.add(path, "duplicate", what, f"line {i * stride + 1}")


def check_names(directory: pathlib.Path, splits: Sequence[str], defects: Defects) -> None:
    """Reports files whose names are nearly those of companions, and would silently not be read."""
    known = {f"{s}_{c}" for s in splits for c in (*COMPANIONS, *OTHERS)}
    for name in sorted(p.name for p in directory.iterdir()):
        split = next((s for s in splits if name.startswith(s + "_")), None)
        if split is None or name in known:
            continue
        near = difflib.get_close_matches(name, [f"{split}_{c}" for c in COMPANIONS], 1, 0.8)
        if near and not (directory / near[0]).exists():
            defects.add(directory / name, "not-read", f"not read; should its name be {near[0]}?")


def check_split(directory: str, name: str, defects: Defects) -> tuple[Split | None, list[bytes]]:
    """One split with all of its defects: (the split, None where it cannot be brought together; digests of its rows)."""
    split = precomp.read_split(directory, name, defects)
    root = precomp.find_directory(directory, name)
    path, ids_file = root / f"{name}_ims.npy", root / f"{name}_ids.txt"
    digests: list[bytes] = []
    array = open_features(path, Defects(strict=False))  # its defects are known by now
    if array is not None:
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
    """Reports splits that share images, or that do not seem to be of one data set."""
    first = splits[0][0]
    for split, _ in splits[1:]:
        for what, get in (
            ("features wide", lambda s: s.features.shape[2]),
            ("regions per image", lambda s: s.features.shape[1]),
            ("captions per image", lambda s: s.captions_per_image),
        ):
            if get(split) != get(first):
                differs = f"{get(split)} {what}, {get(first)} in {first.source}"
                defects.add(split.source, "differs", f"{differs}; are they of one data set?")
    for k, (split, digests) in enumerate(splits):
        for other, other_digests in splits[:k]:
            if split.name == other.name:
                continue
            numbered = [s.ids[0] == "0" and s.ids[-1] == str(s.num_images - 1) for s in (split, other)]
            named = not all(numbered)  # without a file of ids they are 0, 1, 2, ...
            mine, theirs = (split.ids, other.ids) if named else (digests, other_digests)
            shared = Counter(mine) & Counter(theirs)
            if shared:
                index = {x: i for i, x in enumerate(theirs)}
                example = next(i for i, x in enumerate(mine) if x in shared)
                what = f"id {mine[example]}" if named else f"features of image {example} and {index[mine[example]]}"
                leak = f"{sum(shared.values())} images are in split {other.name} too (first: {what})"
                hint = f"numbers on {split.name} would not be those of unseen images"
                defects.add(split.source, "leak", f"{leak}; {hint}")
