"""Files and directories that are written whole, or not at all."""

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from itm_jax.errors import InputError


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


def umask() -> int:
    """Returns which permissions new files of this process do not get."""
    current = os.umask(0)
    os.umask(current)
    return current
