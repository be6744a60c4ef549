"""Reader of SCAN's `precomp` directories: `{split}_ims.npy`, `{split}_caps.txt`, `{split}_ids.txt` and companions.

Features stay on disk (memory-mapped): opening COCO's 33 GB train file costs no anonymous memory.
"""

import json
import mmap
import pathlib
import tokenize

import numpy as np

from itm_jax.errors import InputError
from itm_jax.structs import Split

FULL_SCAN_BYTES = 2 << 30  # smaller feature files are scanned for NaN when opened, larger ones batch by batch
BOX_LIMIT = 1.001
# What NumPy lets through from a damaged header, whose text goes to a tokenizer and to ast.literal_eval.
DAMAGED = (ValueError, EOFError, SyntaxError, TypeError, OverflowError, RecursionError, tokenize.TokenError)


def find_directory(directory: str, split: str) -> pathlib.Path:
    """`directory` or `directory/precomp`, whichever holds the split's features."""
    root = pathlib.Path(directory).expanduser()
    for candidate in (root, root / "precomp"):
        if (candidate / f"{split}_ims.npy").exists():
            return candidate
    if not root.is_dir():
        raise InputError(f"{root}: no such directory; set config.data.dir to the directory with {split}_ims.npy")
    found = sorted(p.name.removesuffix("_ims.npy") for p in (*root.glob("*_ims.npy"), *root.glob("precomp/*_ims.npy")))
    hint = f"; splits found there: {', '.join(found)}" if found else ""
    raise InputError(f"{root / f'{split}_ims.npy'}: no such file{hint}")


def open_array(path: pathlib.Path) -> np.ndarray:
    """Memory-maps an .npy file with random-access advice; never unpickles."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # np.load would also open .npz archives
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror or e})") from None
    except DAMAGED as e:
        if "Python objects" in str(e):
            raise InputError(
                f"{path}: holds pickled Python objects, never loaded; save a plain numeric array"
            ) from None
        raise InputError(f"{path}: not a whole .npy file ({str(e)[:200]}); fetch or write it again") from None
    if hasattr(mmap, "MADV_RANDOM"):
        array._mmap.madvise(mmap.MADV_RANDOM)
    return array


def read_lines(path: pathlib.Path) -> list[str]:
    """Lines of a UTF-8 file (CRLF and a byte-order mark are accepted), without their ends."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except UnicodeDecodeError as e:
        line = e.object[: e.start].count(b"\n") + 1
        raise InputError(f"{path}: line {line}: not UTF-8 (byte {e.object[e.start]:#04x})") from None
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines and lines[-1] == "" else lines


def read_captions(path: pathlib.Path) -> list[str]:
    """Captions, one per line; a blank one is an error that names its line."""
    captions = [line.strip() for line in read_lines(path)]
    blank = [i + 1 for i, c in enumerate(captions) if not c]
    if blank:
        raise InputError(f"{path}: line {blank[0]} is blank ({len(blank)} in all); every line must be a caption")
    if not captions:
        raise InputError(f"{path}: empty")
    return captions


def row_repeats(features: np.ndarray, ids: list[str] | None, num_captions: int, path: pathlib.Path) -> int:
    """How often each image's row is repeated in a row (5 in SCAN's dev and test files), 1 where it is not."""
    rows = len(features)
    if rows != num_captions:
        return 1
    named = ids is not None and len(ids) == rows
    k = next((j for j in range(1, rows) if ids[j] != ids[0]), rows) if named else 5
    if k == 1 or (rows % k and not named):
        return 1
    for start in range(0, rows, k) if named else ():
        group = ids[start : start + k]
        if len(group) < k or len(set(group)) > 1:
            lines = (
                f"{path.with_name(path.name.replace('_ims.npy', '_ids.txt'))}: lines {start + 1}..{start + len(group)}"
            )
            raise InputError(f"{lines}: not one id {k} times, as at the file's start")
    groups = np.unique(np.linspace(0, rows // k - 1, 64).astype(int)) * k
    same = np.array([all(np.array_equal(features[g], features[g + j]) for j in range(1, k)) for g in groups])
    if same.all():
        return k
    if named:
        row = int(groups[~same][0])
        check_finite(features[row : row + k], np.arange(row, row + k), str(path))  # NaN differs from itself
        raise InputError(f"{path}: rows {row}..{row + k - 1} have one id but different features")
    return 1


def check_finite(features: np.ndarray, rows: np.ndarray, source: str) -> None:
    """Raises InputError naming the first of `rows` (the rows' numbers in the file) that holds NaN or Inf."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(features, dtype=np.float32)):
            return
    bad = ~np.isfinite(features).reshape(len(features), -1).all(axis=1)
    if bad.any():
        row, count = int(np.asarray(rows)[bad][0]), int(bad.sum())
        raise InputError(f"{source}: row {row}: NaN or Inf ({count} such rows seen); extract it again")


def read_rows(path: pathlib.Path, shape: tuple[int, ...], repeats: int) -> tuple[np.ndarray, int]:
    """Numbers of the images, of this shape, as float32, and how many rows of the file there are per image."""
    array = open_array(path)
    if array.shape not in (shape, (shape[0] * repeats, *shape[1:])) or array.dtype.kind not in "fiu":
        raise InputError(f"{path}: {array.dtype} {array.shape}; expected numbers {shape}, to go with the features")
    stride = len(array) // shape[0]
    return np.asarray(array[::stride], np.float32), stride


def read_boxes(directory: pathlib.Path, split: str, shape: tuple[int, int], repeats: int) -> np.ndarray | None:
    """`{split}_boxes.npy` as fractions of the image size, [i, r, 4] float32, or None where there is no such file."""
    path = directory / f"{split}_boxes.npy"
    if not path.exists():
        return None
    images, regions = shape
    boxes, stride = read_rows(path, (images, regions, 4), repeats)
    bad = ~np.isfinite(boxes).all(axis=(1, 2))
    if bad.any():
        raise InputError(f"{path}: row {int(np.argmax(bad)) * stride}: NaN or Inf")
    sizes_path = directory / f"{split}_img_sizes.npy"
    if sizes_path.exists():
        sizes, sizes_stride = read_rows(sizes_path, (images, 2), repeats)
        bad = ~((sizes > 0) & np.isfinite(sizes)).all(axis=1)
        if bad.any():
            row = int(np.argmax(bad)) * sizes_stride
            raise InputError(f"{sizes_path}: row {row}: width and height must be greater than 0")
        boxes = boxes / np.concatenate([sizes, sizes], axis=1)[:, None, :]
    outside = ~((boxes >= 0) & (boxes <= BOX_LIMIT)).all(axis=(1, 2))
    if outside.any():
        hint = "" if sizes_path.exists() else f"; boxes in pixels need {sizes_path.name} [n, 2] (width, height)"
        if hint and (directory / f"{split}_ims_size.npy").exists():
            hint += f"; {split}_ims_size.npy is a pickle and is not read, {sizes_path.name} replaces it"
        row, count = int(np.argmax(outside)) * stride, int(outside.sum())
        raise InputError(f"{path}: row {row}: values outside [0, {BOX_LIMIT}] ({count} such rows){hint}")
    inverted = ((boxes[..., 2] < boxes[..., 0]) | (boxes[..., 3] < boxes[..., 1])).any(axis=1)
    if inverted.any():
        raise InputError(f"{path}: row {int(np.argmax(inverted)) * stride}: a box with x2 < x1 or y2 < y1")
    return boxes


def read_list(path: pathlib.Path) -> list | None:
    """The list in a JSON file, or None where there is no file."""
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except (ValueError, RecursionError) as e:
        raise InputError(f"{path}: not JSON ({e})") from None
    if not isinstance(value, list):
        raise InputError(f"{path}: holds a {type(value).__name__}, expected a list")
    return value


def read_labels(directory: pathlib.Path, split: str, shape: tuple[int, int], repeats: int):
    """`{split}_labels.json` as ([i, r] int32 indices, sorted label names), or (None, ())."""
    path = directory / f"{split}_labels.json"
    names = read_list(path)
    if names is None:
        return None, ()
    images, regions = shape
    if len(names) not in (images, images * repeats):
        raise InputError(f"{path}: {len(names)} rows, expected {images} lists of {regions} label names")
    stride = len(names) // images
    names = names[::stride]
    for i, row in enumerate(names):
        if not isinstance(row, list) or len(row) != regions or not all(isinstance(x, str) for x in row):
            raise InputError(f"{path}: row {i * stride}: expected a list of {regions} label names")
    vocabulary = tuple(sorted({x for row in names for x in row}))
    index = {x: j for j, x in enumerate(vocabulary)}
    return np.array([[index[x] for x in row] for row in names], np.int32), vocabulary


def read_edges(directory: pathlib.Path, split: str, captions: list[str]):
    """`{split}_dependencies.json`: per caption a list of [head, dependent] indices of whitespace words, or None."""
    path = directory / f"{split}_dependencies.json"
    edges = read_list(path)
    if edges is None:
        return None
    if len(edges) != len(captions):
        raise InputError(f"{path}: {len(edges)} entries, expected {len(captions)}, one per caption")
    for i, (row, caption) in enumerate(zip(edges, captions, strict=True)):
        words = len(caption.split())
        fits = isinstance(row, list) and all(
            isinstance(edge, list) and len(edge) == 2 and all(type(w) is int and 0 <= w < words for w in edge)
            for edge in row
        )
        if not fits:
            raise InputError(f"{path}: entry {i}: expected [head, dependent] indices below its caption's {words} words")
    return edges


def read_split(directory: str, split: str) -> Split:
    """Opens one split.

    Args:
        directory: the directory, or the one above its `precomp/`.
        split: `train`, `dev`, `test`, `testall`, or any other prefix of the files.

    Returns:
        The split; features memory-mapped, rows repeated 5x read once.

    Raises:
        InputError: a file is missing or damaged, or counts, widths or values do not fit; names file and row.
    """
    root = find_directory(directory, split)
    path = root / f"{split}_ims.npy"
    features = open_array(path)
    if features.ndim != 3 or features.dtype not in (np.float16, np.float32):
        got = f"{features.dtype} {features.shape}"
        raise InputError(f"{path}: {got}; expected float16 or float32 [rows, regions, width]")
    if 0 in features.shape:
        raise InputError(f"{path}: shape {features.shape} holds nothing")
    captions = read_captions(root / f"{split}_caps.txt")
    ids_path = root / f"{split}_ids.txt"
    ids = [line.strip() for line in read_lines(ids_path)] if ids_path.exists() else None

    repeats = row_repeats(features, ids, len(captions), path)
    images = len(features) // repeats
    if len(captions) % images or len(captions) < images:
        raise InputError(
            f"{root / f'{split}_caps.txt'}: {len(captions)} captions for {images} images in {path.name}; "
            "the captions must be a constant multiple of the images"
        )
    if ids is not None and len(ids) not in (len(features), images, len(captions)):
        raise InputError(f"{ids_path}: {len(ids)} ids for {images} images ({len(features)} rows in {path.name})")
    if features.nbytes <= FULL_SCAN_BYTES:
        step = max(1, (64 << 20) // features[0].nbytes)
        for start in range(0, len(features), step):
            check_finite(features[start : start + step], np.arange(start, min(start + step, len(features))), str(path))
    shape = (images, features.shape[1])
    labels, label_names = read_labels(root, split, shape, repeats)
    return Split(
        name=split,
        features=features[::repeats],
        captions=captions,
        captions_per_image=len(captions) // images,
        ids=ids[:: len(ids) // images] if ids is not None else [str(i) for i in range(images)],
        boxes=read_boxes(root, split, shape, repeats),
        labels=labels,
        label_names=label_names,
        edges=read_edges(root, split, captions),
        source=str(path),
        rows_per_image=repeats,
    )
