"""Reader of SCAN's `precomp` directories: `{split}_ims.npy`, `{split}_caps.txt`, `{split}_ids.txt` and companions.

Features stay on disk (memory-mapped): opening COCO's 33 GB train file costs no anonymous memory.
"""

import json
import mmap
import pathlib

import numpy as np

from itm_jax.errors import InputError
from itm_jax.structs import Split

FULL_SCAN_BYTES = 2 << 30  # smaller feature files are scanned for NaN when opened, larger ones batch by batch
BOX_LIMIT = 1.001


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
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror or e})") from None
    except (ValueError, EOFError) as e:
        if "Python objects" in str(e) or "allow_pickle" in str(e) or "pickle" in str(e):
            raise InputError(
                f"{path}: holds pickled Python objects, which are never loaded; save a plain numeric array"
            ) from None
        raise InputError(f"{path}: not a whole .npy file ({e}); it may be truncated, fetch or write it again") from None
    except SyntaxError:
        raise InputError(f"{path}: damaged .npy header; fetch or write it again") from None
    if isinstance(array, np.memmap) and hasattr(mmap, "MADV_RANDOM"):
        array._mmap.madvise(mmap.MADV_RANDOM)
    return array


def read_lines(path: pathlib.Path) -> list[str]:
    """Lines of a UTF-8 file (CRLF and a byte-order mark are accepted), without their ends."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except UnicodeDecodeError as e:
        line = path.read_bytes()[: e.start].count(b"\n") + 1
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
    if ids is not None and len(ids) == rows:
        k = next((j for j in range(1, rows) if ids[j] != ids[0]), rows)
    else:
        k = 5
    if k == 1 or rows % k:
        return 1
    if ids is not None and len(ids) == rows:
        for start in range(0, rows, k):
            if len(set(ids[start : start + k])) > 1:
                raise InputError(
                    f"{path}: rows {start}..{start + k - 1} should be one image {k} times, but their ids differ"
                )
    groups = np.unique(np.linspace(0, rows // k - 1, 64).astype(int)) * k
    same = np.array([all(np.array_equal(features[g], features[g + j]) for j in range(1, k)) for g in groups])
    if same.all():
        return k
    if ids is not None and len(ids) == rows:
        row = int(groups[~same][0])
        raise InputError(f"{path}: rows {row}..{row + k - 1} have one id but different features")
    return 1


def check_finite(features: np.ndarray, rows: np.ndarray, source: str) -> None:
    """Raises InputError naming the first of `rows` (the rows' numbers in the file) that holds NaN or Inf."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(features, dtype=np.float32)):
            return
    bad = ~np.isfinite(features).reshape(len(features), -1).all(axis=1)
    if bad.any():
        raise InputError(
            f"{source}: row {int(np.asarray(rows)[bad][0])}: NaN or Inf ({int(bad.sum())} such rows seen); extract it again"
        )


def read_boxes(directory: pathlib.Path, split: str, shape: tuple[int, int], repeats: int) -> np.ndarray | None:
    """`{split}_boxes.npy` as fractions of the image size, [i, r, 4] float32, or None where there is no such file."""
    path = directory / f"{split}_boxes.npy"
    if not path.exists():
        return None
    boxes = open_array(path)
    images, regions = shape
    if boxes.shape not in ((images, regions, 4), (images * repeats, regions, 4)):
        raise InputError(f"{path}: shape {boxes.shape}, expected {(images, regions, 4)} to go with {split}_ims.npy")
    boxes = np.asarray(boxes[:: len(boxes) // images], np.float32)
    sizes_path = directory / f"{split}_img_sizes.npy"
    if sizes_path.exists():
        sizes = np.asarray(open_array(sizes_path), np.float32)
        if sizes.shape not in ((images, 2), (images * repeats, 2)):
            raise InputError(f"{sizes_path}: shape {sizes.shape}, expected {(images, 2)}: width, height")
        sizes = sizes[:: len(sizes) // images]
        boxes = boxes / np.concatenate([sizes, sizes], axis=1)[:, None, :]
    outside = ~((boxes >= 0) & (boxes <= BOX_LIMIT)).all(axis=(1, 2))
    if outside.any():
        row = int(np.argmax(outside))
        hint = "" if sizes_path.exists() else f"; boxes in pixels need {sizes_path.name} [n, 2] (width, height)"
        if not sizes_path.exists() and (directory / f"{split}_ims_size.npy").exists():
            hint += f"; {split}_ims_size.npy is a pickle and is not read, {sizes_path.name} replaces it"
        raise InputError(f"{path}: row {row}: values outside [0, {BOX_LIMIT}] ({int(outside.sum())} such rows){hint}")
    inverted = ((boxes[..., 2] < boxes[..., 0]) | (boxes[..., 3] < boxes[..., 1])).any(axis=1)
    if inverted.any():
        raise InputError(f"{path}: row {int(np.argmax(inverted))}: a box with x2 < x1 or y2 < y1")
    return boxes


def read_json(path: pathlib.Path):
    """A JSON file, or None where there is none."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except ValueError as e:
        raise InputError(f"{path}: not JSON ({e})") from None


def read_labels(directory: pathlib.Path, split: str, shape: tuple[int, int], repeats: int):
    """`{split}_labels.json` as ([i, r] int32 indices, sorted label names), or (None, ())."""
    path = directory / f"{split}_labels.json"
    names = read_json(path)
    if names is None:
        return None, ()
    images, regions = shape
    if not isinstance(names, list) or len(names) not in (images, images * repeats):
        got = f"{len(names)} rows" if isinstance(names, list) else type(names).__name__
        raise InputError(f"{path}: {got}, expected a list of {images} lists of {regions} label names")
    names = names[:: len(names) // images]
    for i, row in enumerate(names):
        if not isinstance(row, list) or len(row) != regions or not all(isinstance(x, str) for x in row):
            raise InputError(f"{path}: row {i}: expected a list of {regions} label names")
    vocabulary = tuple(sorted({x for row in names for x in row}))
    index = {x: j for j, x in enumerate(vocabulary)}
    return np.array([[index[x] for x in row] for row in names], np.int32), vocabulary


def read_edges(directory: pathlib.Path, split: str, captions: list[str]):
    """`{split}_dependencies.json`: per caption a list of [head, dependent] indices of whitespace words, or None."""
    path = directory / f"{split}_dependencies.json"
    edges = read_json(path)
    if edges is None:
        return None
    if not isinstance(edges, list) or len(edges) != len(captions):
        raise InputError(f"{path}: expected a list of {len(captions)} entries, one per caption")
    for i, (row, caption) in enumerate(zip(edges, captions, strict=True)):
        words = len(caption.split())
        try:
            fits = all(len(edge) == 2 and all(isinstance(w, int) and 0 <= w < words for w in edge) for edge in row)
        except TypeError:
            fits = False
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
        raise InputError(
            f"{path}: {features.dtype} {features.shape}; expected float16 or float32 [rows, regions, width]"
        )
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
    )
