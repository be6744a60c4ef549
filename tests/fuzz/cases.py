"""Cases of a target: its seed files with one or two of them changed, in a folder; and what the reader makes of them."""

import dataclasses
import functools
import pathlib
import random
import re
import shutil
from collections.abc import Callable

from fuzz import limits
from fuzz.mutate import mutate


@dataclasses.dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        seed: makes the files, {name: bytes}.
        read: reads a folder; it also gets the names of the changed files, and a folder to write to.
        changed: a pattern of the names of the files that are changed.
        fine: exceptions besides InputError that the caller turns into a line.
        repair: what an attacker would set right after a change, such as checksums: (rng, files) -> files.
        build: writes the files where they are the parts of something else: (folder, files).
        seconds: that a case may take.
        megabytes: that it may allocate.
        weight: the share of executions; slow readers have less.
        needs: a package of an extra, without which the reader is left out.
    """

    seed: Callable[[], dict[str, bytes]]
    read: Callable[[pathlib.Path, list[str], pathlib.Path], object]
    changed: str = ""
    fine: tuple[type[BaseException], ...] = ()
    repair: Callable | None = None
    build: Callable | None = None
    seconds: float = 5.0
    megabytes: int = 512
    weight: float = 1.0
    needs: str = ""

    @functools.cached_property
    def files(self):
        """The seed files."""
        return self.seed()

    @functools.cached_property
    def names(self):
        """The files that may be changed."""
        return sorted(name for name in self.files if re.search(self.changed, name))


def changed_files(target, rng):
    """Returns {name: bytes} of one or two changed files."""
    names = rng.sample(target.names, min(len(target.names), rng.choice((1, 1, 1, 2))))
    others = [target.files[name] for name in target.names]
    out = {name: mutate(rng, name, target.files[name], others) for name in names}
    return target.repair(rng, out) if target.repair else out


class Folder:
    """A folder with the files of a target, of which a few change from case to case."""

    def __init__(self, target, root: pathlib.Path):
        """Writes the seed files below `root`."""
        self.target, self.place, self.out = target, root / "in", root / "out"
        self.root, self._there = root, {}
        root.mkdir(parents=True, exist_ok=True)

    def write(self, changes):
        """Writes the changed files, and the seed files in place of the last changes."""
        if self.target.build:
            shutil.rmtree(self.place, ignore_errors=True)
            self.place.mkdir()
            self.target.build(self.place, self.target.files | changes)
        else:
            for name, content in (self.target.files | changes).items():
                path = self.place / name
                if self._there.get(name) != content:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                    self._there[name] = content
        shutil.rmtree(self.out, ignore_errors=True)

    def run(self, changes, *, seconds=None, intact=False):
        """Reads the folder with some files changed; returns the finding, or None."""
        try:
            self.write(changes)
        except Exception as e:  # a builder refuses to write it
            if self.target.build:
                return None
            raise e
        names = sorted(changes)
        return limits.attempt(
            lambda: self.target.read(self.place, names, self.out),
            self.target.fine,
            seconds or self.target.seconds,
            intact=intact,
        )


def case(target, seed, number):
    """Returns the changed files of a case; the same numbers give the same files."""
    return changed_files(target, random.Random(f"{seed} {number}"))
