"""Readers of the single files of a `precomp` directory. Nothing is ever unpickled.

Each takes the `Defects` to report to; where these are not strict, it returns None for a file it cannot make sense of.
"""

import json
import mmap
import pathlib
import tokenize

import numpy as np

from itm_jax.data.defects import STRICT, Defects
from itm_jax.errors import InputError

# What NumPy lets through from a damaged header, whose text goes to a tokenizer and to ast.literal_eval.
DAMAGED = (ValueError, EOFError, SyntaxError, TypeError, OverflowError, RecursionError, tokenize.TokenError)


def open_array(path: pathlib.Path, defects: Defects = STRICT) -> np.ndarray | None:
    """Memory-maps an .npy file with random-access advice; the file must be exactly as long as its header says."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # np.load would also open .npz archives
    except OSError as e:
        return defects.add(path, "unreadable", f"cannot be read ({e.strerror or e})")
    except DAMAGED as e:
        if "Python objects" in str(e):
            return defects.add(
                path, "pickled", "holds pickled Python objects, never loaded; save a plain numeric array"
            )
        return defects.add(path, "damaged", f"not a whole .npy file ({str(e)[:200]}); fetch or write it again")
    surplus = path.stat().st_size - array.offset - array.nbytes
    if surplus:
        says = f"{array.dtype} {array.shape}"
        return defects.add(
            path, "damaged", f"{surplus} bytes more than its header says ({says}); fetch or write it again"
        )
    if hasattr(mmap, "MADV_RANDOM"):
        array._mmap.madvise(mmap.MADV_RANDOM)
    return array


def open_features(path: pathlib.Path, defects: Defects = STRICT) -> np.ndarray | None:
    """`{split}_ims.npy`: float16 or float32 [rows, regions, width], row by row in the file."""
    array = open_array(path, defects)
    if array is None:
        return None
    if array.ndim != 3 or array.dtype not in (np.float16, np.float32) or not array.dtype.isnative:
        got = f"{array.dtype} {array.shape}"
        return defects.add(path, "shape", f"{got}; expected float16 or float32 [rows, regions, width]")
    if 0 in array.shape:
        return defects.add(path, "shape", f"shape {array.shape} holds nothing")
    if not array.flags.c_contiguous:
        what = "stored column by column (Fortran order), so that a row would be spread over the whole file"
        return defects.add(path, "order", f"{what}; save np.ascontiguousarray(array)")
    return array


def read_lines(path: pathlib.Path, defects: Defects = STRICT) -> list[str] | None:
    """Lines of a UTF-8 file (CRLF and a byte-order mark are accepted), without their ends."""
    try:
        raw = path.read_bytes()
    except OSError as e:
        return defects.add(path, "unreadable", f"cannot be read ({e.strerror})")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        bad = [(n, e) for n, line in enumerate(raw.split(b"\n"), 1) if (e := _undecodable(line)) is not None]
        defects.each(path, "line", [n for n, _ in bad], "encoding", f"not UTF-8 (byte {bad[0][1]:#04x})")
        text = raw.decode("utf-8-sig", "ignore")
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines and lines[-1] == "" else lines


def _undecodable(line: bytes) -> int | None:
    """The first byte of a line that is not UTF-8."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as e:
        return line[e.start]
    return None


def read_captions(path: pathlib.Path, defects: Defects = STRICT) -> list[str] | None:
    """Captions, one per line."""
    lines = read_lines(path, defects)
    if lines is None:
        return None
    captions = [line.strip() for line in lines]
    if not captions:
        return defects.add(path, "empty", "empty")
    blank = [i for i, c in enumerate(captions, 1) if not c]
    defects.each(path, "line", blank, "blank", "blank; every line must be a caption")
    return captions


def read_list(path: pathlib.Path, defects: Defects = STRICT) -> list | None:
    """The list in a JSON file, or None where there is no file."""
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        return defects.add(path, "unreadable", f"cannot be read ({e.strerror})")
    except (ValueError, RecursionError) as e:
        return defects.add(path, "damaged", f"not JSON ({e})")
    if not isinstance(value, list):
        return defects.add(path, "value", f"holds a {type(value).__name__}, expected a list")
    return value


def read_rows(
    path: pathlib.Path, shape: tuple[int, ...], repeats: int, defects: Defects = STRICT
) -> tuple[np.ndarray, int] | None:
    """Numbers of the images, of this shape, as float32, and how many rows of the file there are per image."""
    array = open_array(path, defects)
    if array is None:
        return None
    if array.shape not in (shape, (shape[0] * repeats, *shape[1:])) or array.dtype.kind not in "fiu":
        return defects.add(
            path, "shape", f"{array.dtype} {array.shape}; expected numbers {shape}, to go with the features"
        )
    stride = len(array) // shape[0]
    return np.asarray(array[::stride], np.float32), stride


def require(directory: pathlib.Path, split: str) -> None:
    """Raises InputError where the directory cannot be listed."""
    try:
        next(directory.iterdir(), None)
    except OSError as e:
        raise InputError(
            f"{directory}: no such directory; set config.data.dir to the directory with {split}_ims.npy"
            if isinstance(e, FileNotFoundError)
            else f"{directory}: cannot be read ({e.strerror})"
        ) from None
