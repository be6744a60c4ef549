"""List or clear the cache: hidden states of frozen text encoders, and programs compiled for GPUs and TPUs.

    python -m itm_jax cache list
    python -m itm_jax cache clear --kind=states --days=30
    python -m itm_jax cache list --dir=DIR   (the config.data.cache_dir of your runs)

Everything in it can be made again; what is missing is computed at the next start. `clear` prints what it removes.
"""

import pathlib
import shutil
import sys
import time
from typing import NamedTuple

import numpy as np
from absl import flags

from itm_jax.cli import commands
from itm_jax.errors import InputError
from itm_jax.files import cache_dir

WORDS = ("list", "clear")
PATTERNS = {"states": "states-*", "programs": "xla"}  # of data.text.states and devices.programs
DAY = 86400.0  # seconds
FLAGS = flags.FlagValues()
_DIR = flags.DEFINE_string("dir", None, "the cache, default: ~/.cache/itm_jax", flag_values=FLAGS)
_KIND = flags.DEFINE_enum("kind", "all", ["all", *PATTERNS], "what is listed or removed", flag_values=FLAGS)
_DAYS = flags.DEFINE_float("days", 0.0, "only what was not read for so many days", lower_bound=0.0, flag_values=FLAGS)


class Entry(NamedTuple):
    """A part of the cache: its place, its size in bytes, when it was last read, and what it holds."""

    path: pathlib.Path
    size: int
    read: float
    content: str


def main(word: str) -> None:
    """Flags -> the list, or what was removed."""
    root = cache_dir(str(commands.directory("dir", _DIR.value)) if _DIR.value else None)
    kinds = list(PATTERNS) if _KIND.value == "all" else [_KIND.value]
    entries = [e for e in entries_of(root, kinds) if time.time() - e.read >= DAY * _DAYS.value]
    for entry in entries:
        if word == "clear":
            _remove(entry.path)
        age = (time.time() - entry.read) / DAY
        print(f"{entry.size / 1e6:10.1f} MB  read {age:4.0f} days ago  {entry.path.name}  {entry.content}")
    total = sum(entry.size for entry in entries) / 1e6
    print(f"{root}: {len(entries)} entries, {total:.1f} MB{' removed' if word == 'clear' else ''}")


def entries_of(root: pathlib.Path, kinds: list[str]) -> list[Entry]:
    """Returns the entries of these kinds, the largest first."""
    found = [_entry(path) for kind in kinds for path in root.glob(PATTERNS[kind])]
    return sorted(found, key=lambda entry: -entry.size)


def _entry(path: pathlib.Path) -> Entry:
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    sizes = [p.stat() for p in files]
    read = max((max(s.st_atime, s.st_mtime) for s in sizes), default=path.stat().st_mtime)
    return Entry(path, sum(s.st_size for s in sizes), read, _content(path, len(files)))


def _content(path: pathlib.Path, files: int) -> str:
    if path.is_dir():
        return f"{files} files of compiled programs"
    try:
        tokens, width = np.load(path, mmap_mode="r").shape
    except (OSError, ValueError, EOFError):
        return "not whole: left by a start that was stopped"
    return f"hidden states of {tokens:,} tokens, {width} wide"


def _remove(path: pathlib.Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as e:
        raise InputError(f"{path}: cannot be removed ({e.strerror})") from None


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
