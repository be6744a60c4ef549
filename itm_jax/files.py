"""Whole files, free disk space, and the cache directory."""

import contextlib
import json
import lzma
import math
import os
import pathlib
import shutil
import struct
import tokenize
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from itm_jax.errors import InputError

# Parts of the cache: files of hidden states, and the folder of compiled programs.
STATES_PREFIX, PROGRAMS = "states-", "xla"
PIECE = 16 << 20  # bytes of an array that are read at a time
MOST_UNICODE = 0x10FFFF  # the largest number of a character
DEEPEST = 100  # levels of a JSON text
LFS = b"version https://git-lfs.github.com/spec/"  # how a pointer of Git LFS begins
# The errors that NumPy raises for a damaged header, whose text it passes to a tokenizer and to ast.literal_eval. The
# last one is that of Python 3.13 for brackets that are nested deeply.
DAMAGED = (
    ValueError, EOFError, SyntaxError, TypeError, OverflowError, RecursionError, tokenize.TokenError, SystemError,
)  # fmt: skip
# Those that Python raises for a damaged ZIP archive: the last two for encryption, and for ways of packing it lacks.
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, RuntimeError, NotImplementedError)
LFS_HINT = "a pointer of Git LFS, not the file itself; run git lfs pull where it was cloned"


def write_whole(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a whole file or nothing. Raises InputError where the file cannot be written."""
    with whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_array(path: pathlib.Path, value: np.ndarray) -> None:
    """Writes an .npy file, whole or not at all. Raises InputError where it cannot be written."""
    with whole(path) as file:
        np.save(file, value)


@contextlib.contextmanager
def whole(path: pathlib.Path, *, shared: bool = False) -> Iterator[BinaryIO]:
    """Gives a file to write, which gets its name when the block has ended without an error.

    Args:
        path: the name.
        shared: whether other processes may write the same file at the same time.

    Raises:
        InputError: the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp" if shared else f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror})") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_directory(path: pathlib.Path) -> None:
    """Makes a directory where it is not there. Raises InputError where it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{path}: cannot be made a directory ({e.strerror})") from None


def parse_json(text: str | bytes) -> Any:
    """Returns the value of a JSON text that is nested no deeper than `DEEPEST`.

    From Python 3.13 on the parser takes texts that are nested so deeply that whatever walks through the value fails.

    Raises:
        ValueError: the text is not JSON, or nested too deeply.
        RecursionError: the text is nested too deeply for the parser.
    """
    value = json.loads(text)
    level = [value]
    for _ in range(DEEPEST):
        children = (x.values() if isinstance(x, dict) else x for x in level if isinstance(x, dict | list))
        level = [x for some in children for x in some if isinstance(x, dict | list)]
        if not level:
            return value
    raise ValueError(f"nested more than {DEEPEST} deep")


def read_json(path: Any, hint: str = "") -> Any:
    """Returns the value in a JSON file.

    Args:
        path: path of the file, or anything with `read_text`.
        hint: what the user can do where the file cannot be read, for the message.

    Raises:
        InputError: the file cannot be read, or is not JSON.
    """
    advice = f"; {hint}" if hint else ""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror or e}){advice}") from None
    except (ValueError, RecursionError) as e:
        raise InputError(f"{path}: not JSON ({e}){advice}") from None


def read_npy(path: pathlib.Path, hint: str = "") -> np.ndarray:
    """Returns the array in an .npy file, in memory. Objects are never unpickled.

    Args:
        path: the file.
        hint: what the user can do where the file cannot be read, for the message.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    try:
        with path.open("rb") as file:
            return _array(file)
    except (OSError, *DAMAGED) as e:
        raise _unreadable(path, ".npy", e, hint) from None


def read_npz(path: pathlib.Path, names: Sequence[str] | None = None, hint: str = "") -> dict[str, np.ndarray]:
    """Returns arrays of an .npz file, by name. Objects are never unpickled.

    Args:
        path: the file.
        names: of the arrays that are wanted; those that the file lacks are left out. None: all.
        hint: as for `read_npy`.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    out = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                name = member.removesuffix(".npy")
                if names is None or name in names:
                    with archive.open(member) as file:
                        out[name] = _array(file)
    except (OSError, KeyError, *DAMAGED, *DAMAGED_ZIP) as e:
        raise _unreadable(path, ".npz", e, hint) from None
    return out


def _array(file: Any) -> np.ndarray:
    """Reads an array from a file. Memory is taken for the bytes that come, not for those that a header promises."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("Python objects, which are never unpickled")
    if any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"shape {shape}")
    size, data = math.prod(shape) * dtype.itemsize, bytearray()
    while piece := file.read(min(PIECE, size - len(data))):
        data += piece
    if len(data) != size:
        raise ValueError(f"{len(data)} bytes, its header says {dtype} {shape}")
    array = np.ndarray(shape, dtype, data, order="F" if by_columns else "C")
    if dtype.kind == "U" and array.size and np.frombuffer(data, f"{dtype.str[0]}u4").max() > MOST_UNICODE:
        raise ValueError("texts with numbers that are no characters")
    return array


def _unreadable(path: pathlib.Path, form: str, error: Exception, hint: str) -> InputError:
    advice = f"; {hint}" if hint else ""
    if isinstance(error, OSError):
        return InputError(f"{path}: cannot be read ({error.strerror or error}){advice}")
    return InputError(f"{path}: damaged (not an intact {form} file: {str(error)[:200]}){advice}")


def umask() -> int:
    """Returns which permissions new files of this process do not get."""
    current = os.umask(0)
    os.umask(current)
    return current


def is_lfs_pointer(path: pathlib.Path) -> bool:
    """Returns whether a file is a pointer of Git LFS, in place of the file that it stands for."""
    try:
        with path.open("rb") as file:
            return file.read(len(LFS)) == LFS
    except OSError:
        return False


def free_space(path: pathlib.Path) -> int:
    """Returns the free bytes on the disk of a path. The path need not exist yet."""
    return shutil.disk_usage(existing(path)).free


def existing(path: pathlib.Path) -> pathlib.Path:
    """Returns the path if it exists, else the nearest parent directory that exists."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def check_space(path: pathlib.Path, needed: int) -> None:
    """Raises InputError where the disk of a path has less than `needed` bytes free."""
    free = free_space(path)
    if free < needed:
        raise InputError(f"{path}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; make room")


def cache_dir(configured: str | None) -> pathlib.Path:
    """Returns `config.data.cache_dir`, else `$XDG_CACHE_HOME/itm_jax`, else `~/.cache/itm_jax`."""
    if configured:
        return pathlib.Path(configured).expanduser()
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "itm_jax"


def is_inside(name: str) -> bool:
    """Returns whether a name is a relative path without `..`: it stays inside the folder that it is added to."""
    parts = pathlib.PurePosixPath(name).parts
    bad = name.startswith(("/", "~")) or ".." in parts or "\\" in name
    return not bad and not any(ord(c) < 32 for c in name) and "//" not in name
