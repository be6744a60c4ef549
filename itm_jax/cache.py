"""List or clear the cache: hidden states of frozen text encoders, compiled programs, and copies of what is in buckets.

    python -m itm_jax.cache list
    python -m itm_jax.cache clear --kind=states --days=30
    python -m itm_jax.cache list --dir=DIR   (the config.data.cache_dir of your runs)

Everything in it can be made again; what is missing is computed or copied at the next start. Copies that a process uses
are left out. `clear` prints what it removes.
"""

import pathlib
import re
import shutil
import sys
import time
from typing import NamedTuple

from absl import flags

from itm_jax.buckets import copies
from itm_jax.cli import commands
from itm_jax.errors import InputError
from itm_jax.files import PROGRAMS, STATES_PREFIX, cache_dir, map_npy

WORDS = ("list", "clear")
KINDS = ("states", "programs", "copies")
STATES = re.compile(STATES_PREFIX + r"[0-9a-f]{32}(\.npy|.*\.tmp)")
MACHINE = re.compile(r"[0-9a-f]{8}")  # a folder of programs for one kind of CPU (devices.machine)
COPY = re.compile(r"[0-9a-f]{16}-[\w-]+")
STOPPED = 3600.0  # seconds since the last change after which a half-written file is no longer being written
DAY = 86400.0  # seconds
FLAGS = flags.FlagValues()
_DIR = flags.DEFINE_string("dir", None, "the cache, default: itm_jax in $XDG_CACHE_HOME or ~/.cache", flag_values=FLAGS)
_KIND = flags.DEFINE_enum("kind", "all", ["all", *KINDS], "what is listed or removed", flag_values=FLAGS)
_DAYS = flags.DEFINE_float("days", 0.0, "only what no run used for so many days", lower_bound=0.0, flag_values=FLAGS)


class Entry(NamedTuple):
    """A part of the cache: its place, its size in bytes, when a run last used it, and what it holds."""

    path: pathlib.Path
    size: int
    used: float
    content: str


def main(word: str) -> None:
    """Flags -> the list, or what was removed."""
    root = cache_dir(str(commands.directory("dir", _DIR.value)) if _DIR.value else None)
    kinds = list(KINDS) if _KIND.value == "all" else [_KIND.value]
    if _DIR.value and not root.is_dir():
        raise InputError(f"--dir={root}: no such directory")
    try:
        entries = entries_of(root, kinds)
    except OSError as e:
        raise InputError(f"{e.filename or root}: cannot be read ({e.strerror})") from None
    entries = [e for e in entries if time.time() - e.used >= DAY * _DAYS.value]
    if word == "clear":
        entries = [entry for entry in entries if _remove(entry.path)]
    for entry in entries:
        age = (time.time() - entry.used) / DAY
        print(f"{entry.size / 1e6:10.1f} MB  used {age:4.0f} days ago  {entry.path.name}  {entry.content}")
    total = sum(entry.size for entry in entries) / 1e6
    print(f"{root}: entries: {len(entries)}, {total:.1f} MB{' removed' if word == 'clear' else ''}")


def entries_of(root: pathlib.Path, kinds: list[str]) -> list[Entry]:
    """Returns the entries of these kinds, the largest first; other files and folders are not ours, and left alone."""
    entries: list[Entry | None] = []
    if root.is_dir():
        files = [p for p in root.iterdir() if STATES.fullmatch(p.name) and p.is_file()]
        entries = [_of_states(path) for path in files if "states" in kinds]
        if "programs" in kinds and (root / PROGRAMS).is_dir():
            entries.append(_of_programs(root / PROGRAMS))
        if "copies" in kinds and (root / copies.FOLDER).is_dir():
            entries += [_of_copy(p) for p in (root / copies.FOLDER).iterdir() if COPY.fullmatch(p.name) and p.is_dir()]
    return sorted((entry for entry in entries if entry is not None), key=lambda entry: -entry.size)


def _of_programs(folder: pathlib.Path) -> Entry | None:
    """Returns the entry of a folder of compiled programs; None where it holds anything that JAX does not write."""
    kinds = [p for p in folder.iterdir() if MACHINE.fullmatch(p.name) and p.is_dir()]
    inside = [p for place in (folder, *kinds) for p in place.iterdir() if p not in kinds]
    ours = [p.name.endswith(("-cache", "-atime")) or p.name.startswith("xla_gpu") for p in inside]
    if folder.is_symlink() or not inside or not all(ours):
        return None
    sizes = [p.stat() for p in folder.rglob("*") if p.is_file()]
    used = max((about.st_mtime for about in sizes), default=0.0)
    return Entry(folder, sum(about.st_size for about in sizes), used, f"compiled programs, files: {len(sizes)}")


def _of_copy(folder: pathlib.Path) -> Entry | None:
    """Returns the entry of a copy of a folder of a bucket; None where a process uses it."""
    with copies.unused(folder) as free:
        if not free:
            return None
    about = [p.stat() for p in folder.rglob("*") if p.is_file()]
    used = max((one.st_mtime for one in about), default=0.0)
    return Entry(folder, sum(512 * one.st_blocks for one in about), used, f"a copy from a bucket, files: {len(about)}")


def _of_states(path: pathlib.Path) -> Entry | None:
    """Returns the entry of a file of hidden states; None for one that is still being written."""
    about = path.stat()
    if path.suffix == ".tmp":
        if time.time() - about.st_mtime < STOPPED:
            return None
        return Entry(path, about.st_size, about.st_mtime, "incomplete: an interrupted command left it")
    try:
        tokens, width = map_npy(path).shape
        content = f"hidden states of {tokens:,} tokens, {width} wide"
    except (OSError, ValueError):
        content = "damaged"
    return Entry(path, about.st_size, about.st_mtime, content)


def _remove(path: pathlib.Path) -> bool:
    """Removes a part of the cache; returns False for a copy that a process uses."""
    try:
        if path.parent.name == copies.FOLDER:
            with copies.unused(path) as free:
                if free:
                    shutil.rmtree(path)
                return free
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as e:
        raise InputError(f"{path}: cannot be removed ({e.strerror or e})") from None
    return True


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
