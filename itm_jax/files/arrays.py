"""Arrays in .npy and .npz files. Objects are never unpickled."""

import io
import lzma
import math
import os
import pathlib
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from itm_jax.errors import InputError

PIECE = 16 << 20  # bytes of an array that are read at a time
MOST_UNICODE = 0x10FFFF  # the largest number of a character
OBJECTS = "Python objects, which are never unpickled"
# The errors that NumPy raises for a damaged header, whose text it passes to a tokenizer and to ast.literal_eval. The
# parser raises the last three for a text that is nested too deeply; which of them depends on its version.
DAMAGED_HEADER = (
    ValueError, EOFError, SyntaxError, TypeError, OverflowError, tokenize.TokenError, SystemError,
    RecursionError, MemoryError,
)  # fmt: skip
# Those that Python raises for a damaged ZIP archive: the last one for encryption, and for ways of packing it lacks.
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, RuntimeError)


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
            return _array(file, os.fstat(file.fileno()).st_size)
    except (OSError, ValueError) as e:
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
                        out[name] = _array(file)  # type: ignore[arg-type]  # a ZipExtFile
    except (OSError, ValueError, KeyError, EOFError, *DAMAGED_ZIP) as e:
        raise _unreadable(path, ".npz", e, hint) from None
    return out


def map_npy(path: pathlib.Path) -> np.memmap:
    """Returns the array in an .npy file, memory-mapped for reading. Objects are never unpickled.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or not exactly as long as its header says.
    """
    with path.open("rb") as file:
        header = npy_header(file)
        length = os.fstat(file.fileno()).st_size
        surplus = length - header.offset - header.nbytes
        if surplus:
            what = f"{abs(surplus)} bytes {'more' if surplus > 0 else 'less'} than its header says"
            raise ValueError(f"{what} ({header.dtype} {header.shape})")
        return np.memmap(file, header.dtype, "r", header.offset, header.shape, header.order)


class Header(NamedTuple):
    """What an .npy file says of its array.

    Attributes:
        shape: of the array.
        dtype: of its values; never of Python objects.
        order: "C" where it is stored row by row, "F" where it is stored column by column.
        offset: of the first value, in bytes from the beginning of the file.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    order: Literal["C", "F"]
    offset: int

    @property
    def nbytes(self) -> int:
        """The size of the array in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def npy_header(file: io.BufferedIOBase) -> Header:
    """Reads the header of an .npy file.

    Args:
        file: a binary file at its beginning, or `io.BytesIO` with the first bytes of one. Afterwards its position is
            that of the first value.

    Raises:
        OSError: the file cannot be read.
        ValueError: the header is damaged or incomplete, or says that the values are Python objects.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, by_columns, dtype = read(file)
    except DAMAGED_HEADER as e:
        raise ValueError(str(e) or "its header cannot be parsed") from None
    if dtype.hasobject:
        raise ValueError(OBJECTS)
    whole = all(type(n) is int and n >= 0 for n in shape)
    if not whole or not dtype.itemsize or math.prod(max(n, 1) for n in shape) * dtype.itemsize > sys.maxsize:
        raise ValueError(f"its header says {dtype} {shape}")  # values of no bytes could be any number of them
    return Header(shape, dtype, "F" if by_columns else "C", file.tell())


def _array(file: io.BufferedIOBase, length: int = 0) -> np.ndarray:
    """Reads an array from a file that has at least `length` bytes.

    Memory is taken for the bytes that the file has, not for those that a header promises.
    """
    shape, dtype, order, offset = header = npy_header(file)
    size = header.nbytes
    data: np.ndarray | bytearray
    if offset + size <= length:
        data = np.empty(size, np.uint8)
        count = file.readinto(data.data)
    else:
        data = bytearray()
        while piece := file.read(min(PIECE, size - len(data))):
            data += piece
        count = len(data)
    if count != size:
        raise ValueError(f"{count} bytes, its header says {dtype} {shape}")
    array = np.ndarray(shape, dtype, data, order=order)
    if dtype.kind == "U" and array.size and np.frombuffer(data, f"{dtype.str[0]}u4").max() > MOST_UNICODE:
        raise ValueError("texts with numbers that are no characters")
    return array


def _unreadable(path: pathlib.Path, form: str, error: Exception, hint: str) -> InputError:
    advice = f"; {hint}" if hint else ""
    if isinstance(error, OSError):
        return InputError(f"{path}: cannot be read ({error.strerror or error}){advice}")
    return InputError(f"{path}: damaged (not an intact {form} file: {str(error)[:200]}){advice}")
