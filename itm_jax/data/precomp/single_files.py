"""Reads the single files of a `precomp` directory. Nothing is ever unpickled.

Each reader reports to `Defects`. Where these are not strict, it returns None for a file that is not usable.
"""

import mmap
import pathlib
from collections.abc import Iterable

import numpy as np

from itm_jax.data.defects import STRICT, Defects
from itm_jax.errors import InputError
from itm_jax.files import LFS_HINT, OBJECTS, is_lfs_pointer, map_npy, parse_json

FEATURES = "_ims.npy"


def names_of_split(names: Iterable[str], split: str) -> list[str]:
    """Returns the names of the files of a split, without those of a longer one, such as `test_5k` for `test`."""
    mine = [name for name in names if name.startswith(f"{split}_")]
    longer = tuple(
        name.removesuffix(FEATURES) + "_" for name in mine if name.endswith(FEATURES) and name != split + FEATURES
    )
    return [name for name in mine if not name.startswith(longer)]


def open_array(path: pathlib.Path, defects: Defects = STRICT) -> np.memmap | None:
    """Memory-maps an .npy file, with random-access advice. The file must be exactly as long as its header says."""
    if is_lfs_pointer(path):
        defects.add(path, "damaged", LFS_HINT)
        return None
    try:
        array = map_npy(path)
    except OSError as e:
        defects.add(path, "unreadable", f"cannot be read ({e.strerror or e})")
        return None
    except ValueError as e:
        if str(e) == OBJECTS:
            defects.add(path, "pickled", "holds pickled Python objects, never loaded; save a plain numeric array")
        else:
            defects.add(path, "damaged", f"not an intact .npy file ({str(e)[:200]}); fetch or write it again")
        return None
    if hasattr(mmap, "MADV_RANDOM"):
        array._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]  # NumPy's stubs lack it
    return array


def is_there(path: pathlib.Path, defects: Defects) -> bool:
    """Returns whether a file exists; reports a link to a file that does not."""
    if path.is_symlink() and not path.exists():
        defects.add(path, "unreadable", f"a link to {path.readlink()}, which does not exist; mend or remove it")
    return path.exists()


def open_features(path: pathlib.Path, defects: Defects = STRICT) -> np.memmap | None:
    """Opens `{split}_ims.npy`: float16 or float32 [rows, regions, width], stored row by row.

    Returns:
        A memory map; None where they are not usable and the defects are not strict.
    """
    array = open_array(path, defects)
    if array is None:
        return None
    if array.ndim != 3 or array.dtype not in (np.float16, np.float32) or not array.dtype.isnative:
        got = f"{array.dtype} {array.shape}"
        defects.add(path, "shape", f"{got}; expected float16 or float32 [rows, regions, width]")
        return None
    if 0 in array.shape:
        defects.add(path, "shape", f"shape {array.shape} holds nothing")
        return None
    if not array.flags.c_contiguous:
        what = "stored column by column (Fortran order), so that a row would be spread over the whole file"
        defects.add(path, "order", f"{what}; save np.ascontiguousarray(array)")
        return None
    return array


def read_lines(path: pathlib.Path, defects: Defects = STRICT) -> list[str] | None:
    """Reads the lines of a UTF-8 file, without their ends; CRLF and a byte-order mark are accepted."""
    if is_lfs_pointer(path):
        defects.add(path, "damaged", LFS_HINT)
        return None
    try:
        raw = path.read_bytes()
    except OSError as e:
        defects.add(path, "unreadable", f"cannot be read ({e.strerror})")
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        bytes_of_lines = [(n, _undecodable(line)) for n, line in enumerate(raw.split(b"\n"), 1)]
        bad = [(n, byte) for n, byte in bytes_of_lines if byte is not None]
        defects.each(path, "line", [n for n, _ in bad], "encoding", f"not UTF-8 (byte {bad[0][1]:#04x})")
        text = raw.decode("utf-8-sig", "ignore")
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines and lines[-1] == "" else lines


def _undecodable(line: bytes) -> int | None:
    """Returns the first byte of a line that is not UTF-8; None where there is none."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as e:
        return line[e.start]
    return None


def read_list(path: pathlib.Path, defects: Defects = STRICT) -> list | None:
    """Reads the list in a JSON file; None where there is no file."""
    if not is_there(path, defects):
        return None
    if is_lfs_pointer(path):
        defects.add(path, "damaged", LFS_HINT)
        return None
    try:
        value = parse_json(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        defects.add(path, "unreadable", f"cannot be read ({e.strerror})")
        return None
    except ValueError as e:
        defects.add(path, "damaged", f"not JSON ({e})")
        return None
    if not isinstance(value, list):
        defects.add(path, "value", f"holds a {type(value).__name__}, expected a list")
        return None
    return value


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
