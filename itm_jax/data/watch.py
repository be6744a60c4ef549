"""Notices that files of the data were changed, replaced or removed while a run reads them."""

import os
import pathlib
from collections.abc import Sequence

from itm_jax.data.precomp.single_files import FEATURES, names_of_split
from itm_jax.errors import InputError
from itm_jax.structs import Split


def paths_of(split: Split) -> list[pathlib.Path]:
    """Returns the local files that a split was read from, sorted; empty where it was made by code."""
    source = pathlib.Path(split.source.removesuffix(f": {split.name}"))
    if source.is_dir():  # tfds
        return sorted(path for path in source.glob(f"*-{split.name}.*") if path.is_file())
    if source.name != split.name + FEATURES or not source.parent.is_dir():
        return []
    names = names_of_split((path.name for path in source.parent.iterdir()), split.name)
    return sorted(path for name in names if (path := source.parent / name).is_file())


class Watch:
    """Compares the files of some splits with what they were at the start."""

    def __init__(self, splits: Sequence[Split]):
        """Looks at the files of the splits."""
        self._before = {path: _stamp(path) for split in splits for path in paths_of(split)}

    def check(self) -> None:
        """Raises InputError where a file is not what it was; this costs one look at each file."""
        for path, before in self._before.items():
            now = _stamp(path)
            if now != before:
                what = "was removed" if now is None else "was changed"
                raise InputError(
                    f"{path}: {what} while the run was reading it; put it back, and start the same command again to "
                    "continue from the last checkpoint"
                )


def _stamp(path: pathlib.Path) -> tuple[int, int] | None:
    """Size and time of the last change. Mounted buckets may give a file another inode at every look."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as e:  # such as those of a network disk
        what = f"cannot be read ({e.strerror}); put it right, and start the same command again"
        raise InputError(f"{path}: {what}") from None
    return status.st_size, status.st_mtime_ns
