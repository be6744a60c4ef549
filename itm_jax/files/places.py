"""Where files lie: paths inside a folder, free disk space, and the cache directory."""

import errno
import os
import pathlib
import shutil

from itm_jax.errors import InputError

# Parts of the cache: files of hidden states, and the folder of compiled programs.
STATES_PREFIX, PROGRAMS = "states-", "xla"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # errors of file systems without locks
LONGEST_PART, LONGEST_PATH = 255, 3000  # bytes of a name, and of a path in a folder; Linux refuses longer ones


def is_inside(path: str) -> bool:
    """Returns whether a relative path, with slashes between its parts, names something inside its folder.

    It must be its own shortest form, without empty parts, `.` or `..`, and without NUL and backslashes. Parts of more
    than 255 bytes of UTF-8, which file systems refuse, do not count as inside either.
    """
    try:
        name = path.encode()
    except UnicodeEncodeError:  # half a character
        return False
    parts = name.split(b"/")
    fits = len(name) <= LONGEST_PATH and all(len(part) <= LONGEST_PART for part in parts)
    return fits and not {b"", b".", b".."} & {*parts} and "\0" not in path and "\\" not in path


def free_space(path: pathlib.Path) -> int:
    """Returns the free bytes on the disk of a path. The path need not exist yet."""
    return shutil.disk_usage(existing(path)).free


def existing(path: pathlib.Path) -> pathlib.Path:
    """Returns the path if it exists, else the nearest parent directory that exists."""
    return next(p for p in (path, *path.absolute().parents) if os.path.exists(p))


def check_space(folder: pathlib.Path, size: int) -> None:
    """Raises InputError where the disk of a folder has less than `size` bytes free. The folder need not exist yet."""
    free = free_space(folder)
    if free < size:
        raise InputError(f"{folder}: {size / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; make room")


def cache_dir(configured: str | None) -> pathlib.Path:
    """Returns `config.data.cache_dir`, else `$XDG_CACHE_HOME/itm_jax`, else `~/.cache/itm_jax`."""
    if configured:
        return pathlib.Path(configured).expanduser()
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "itm_jax"
