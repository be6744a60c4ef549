"""A local copy of a folder of a bucket: what was fetched, and what has changed since and is to be published.

The bucket decides: fetching makes the copy equal to the bucket, and throws away what was never published. Each object
appears whole, but a folder appears object by object. A checkpoint is usable only when it is complete. So a numbered
folder has a marker: a file that is published after all others of its folder, and removed before them. A folder without
its marker is not fetched.
"""

import contextlib
import json
import pathlib
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from itm_jax.buckets.copies import locked
from itm_jax.buckets.lease import NAME as LEASE
from itm_jax.buckets.store import AT_ONCE, Bucket, ChangedObjectError, MissingObjectError, ObjectInfo
from itm_jax.errors import InputError
from itm_jax.files import check_space, is_inside, parse_json, write_whole

PARTIAL = re.compile(r"\.[0-9a-f]{32}\.tmp$")  # how the file of a download that has not ended is named
INDEX = ".bucket.json"  # in the copy: what of it equals the bucket
ATTEMPTS = 5  # to fetch, where the writer of the bucket removes or replaces an object that was just listed


class Steps(NamedTuple):
    """Numbered folders that count only as a whole.

    Attributes:
        folder: the folder that holds them.
        marker: the file that makes one count.
    """

    folder: str
    marker: str

    def of_path(self, path: str) -> int | None:
        """Returns the number of the folder that a path lies in; None where it lies in none."""
        parts = path.split("/")
        return int(parts[1]) if len(parts) > 2 and parts[0] == self.folder and parts[1].isdecimal() else None

    def is_marker(self, path: str) -> bool:
        """Returns whether a path is a marker."""
        step = self.of_path(path)
        return step is not None and path == f"{self.folder}/{step}/{self.marker}"


class Mirror:
    """A local copy of a folder of a bucket.

    Attributes:
        bucket: the folder of the bucket.
        local: the local folder.
        unmarked: the paths that the last `fetch` left out, because their folder has no marker.
    """

    def __init__(
        self,
        bucket: Bucket,
        local: pathlib.Path,
        *,
        steps: Steps | None = None,
        ours: Callable[[str], bool] = lambda path: False,
    ):
        """Takes the two folders.

        Args:
            bucket: the folder of the bucket.
            local: the local folder; it need not exist.
            steps: folders that count only as a whole.
            ours: whether a path belongs to this machine alone: it is neither published nor removed.
        """
        self.bucket, self.local = bucket, local
        self.unmarked: list[str] = []
        self._steps = steps
        self._ours = lambda path: path in (INDEX, LEASE) or path.endswith(".tmp") or ours(path)
        self._known: dict[str, dict[str, Any]] = {}  # of each path of the copy: its ETag, and size and time of the file

    def fetch(self, wanted: Callable[[str], bool] = lambda path: True) -> int:
        """Makes the copy equal to the bucket, but for paths that are not `wanted`. Returns the bytes that it read.

        Raises:
            InputError: the bucket cannot be read, or the local disk cannot be written or has no room.
        """
        with locked(self.local):
            for attempt in range(ATTEMPTS):
                try:
                    return self._fetch(wanted)
                except (MissingObjectError, ChangedObjectError) as e:
                    if attempt == ATTEMPTS - 1:
                        raise InputError(f"{e}; it changes all the time, so that it cannot be copied") from None
                except OSError as e:
                    raise InputError(f"{self.local}: cannot be written ({e.strerror or e})") from None
        raise AssertionError

    def _fetch(self, wanted: Callable[[str], bool]) -> int:
        found = {
            path: info
            for path, info in self.bucket.objects().items()
            if not self._ours(path) and is_inside(path) and wanted(path)
        }
        marked = {path for path in found if self._counts(path, found)}
        self.unmarked = sorted(found.keys() - marked)
        objects = {path: found[path] for path in found if path in marked}
        try:
            known = parse_json((self.local / INDEX).read_text(encoding="utf-8"))
            known = {path: record for path, record in known.items() if path in objects}
        except (OSError, ValueError, AttributeError):
            known = {}
        missing = [p for p, info in objects.items() if not self._is_copy(p, info, known.get(p))]
        size = sum(objects[path].size for path in missing)
        for path in self._local_files():
            if path not in objects:
                (self.local / path).unlink(missing_ok=True)
        for folder in sorted((p for p in self.local.rglob("*") if p.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()  # only when empty
        for left in self.local.rglob("*.tmp"):
            if PARTIAL.search(left.name):  # a killed process left it
                left.unlink(missing_ok=True)
        check_space(self.local, size)
        self._known = {path: known[path] for path in objects.keys() - set(missing)}

        def download(path: str) -> None:
            self.bucket.download(path, objects[path], self.local / path)
            self._known[path] = {"etag": objects[path].etag, "stamp": self._stamp(path)}

        try:
            self._at_once(download, missing)
        finally:  # what is there is not fetched again, also where another object failed
            self._write_index()
        return size

    def publish(self, renew: Callable[[], None] = lambda: None, check: Callable[[], None] = lambda: None) -> None:
        """Sends new and changed files, then markers, and at last removes the steps that the run no longer keeps.

        Other files that are missing in the copy stay in the bucket.

        Args:
            renew: is called before files are sent, before markers are sent, and before each removal; the publication
                ends where it raises.
            check: the same before each file that is sent.

        Raises:
            InputError: the bucket cannot be written, or the copy cannot be read, or is gone.
        """
        try:
            self._publish(renew, check)
        except OSError as e:
            raise InputError(f"{e.filename or self.local}: cannot be read ({e.strerror or e})") from None

    def _publish(self, renew: Callable[[], None], check: Callable[[], None]) -> None:
        if not (self.local / INDEX).is_file():
            raise InputError(
                f"{self.local}: the local copy of {self.bucket.url} was removed; nothing more is published. Start the "
                "same command again to continue from what is published"
            )
        now = self._stamps()
        changed = [p for p, stamp in now.items() if self._known.get(p, {}).get("stamp") != stamp]
        gone = self._removed_steps(now)
        for paths in ([p for p in changed if not self._is_marker(p)], [p for p in changed if self._is_marker(p)]):
            renew()
            infos = self._at_once(lambda path: self._upload(path, check), paths)
            for path, info in zip(paths, infos, strict=True):
                if info:
                    self._known[path] = {"etag": info.etag, "stamp": now[path]}
        for paths in ([p for p in gone if self._is_marker(p)], [p for p in gone if not self._is_marker(p)]):
            if paths:
                renew()
                self.bucket.delete(paths)
            for path in paths:
                del self._known[path]
        self._write_index()

    def _upload(self, path: str, check: Callable[[], None]) -> ObjectInfo | None:
        """Sends a file; None for one that is gone, such as a temporary file of a library."""
        check()
        file = self.local / path
        return self.bucket.upload(path, file) if file.exists() else None

    def remove_unmarked(self) -> None:
        """Removes the objects of folders without a marker: what an interrupted publication left."""
        self.bucket.delete(self.unmarked)
        self.unmarked = []

    def _removed_steps(self, now: Iterable[str]) -> list[str]:
        """The published paths of steps that the run removed: a newer step is there, whole.

        A run itself removes nothing else. What else is missing was not removed by it, and stays.
        """
        if self._steps is None:
            return []
        local = {self._steps.of_path(path) for path in now} - {None}
        newest = max((self._steps.of_path(path) or 0 for path in now if self._is_marker(path)), default=-1)
        return [
            path
            for path in self._known
            if (step := self._steps.of_path(path)) is not None and step not in local and step < newest
        ]

    def _counts(self, path: str, objects: dict[str, ObjectInfo]) -> bool:
        """Whether a path is in no numbered folder, or in one with its marker."""
        step = self._steps.of_path(path) if self._steps else None
        return self._steps is None or step is None or f"{self._steps.folder}/{step}/{self._steps.marker}" in objects

    def _is_marker(self, path: str) -> bool:
        return self._steps is not None and self._steps.is_marker(path)

    def _local_files(self) -> list[str]:
        """The paths of the copy that are to be published."""
        paths = (p.relative_to(self.local).as_posix() for p in sorted(self.local.rglob("*")) if p.is_file())
        return [path for path in paths if not self._ours(path)]

    def _stamp(self, path: str) -> list[int]:
        status = (self.local / path).stat()
        return [status.st_size, status.st_mtime_ns]

    def _stamps(self) -> dict[str, list[int]]:
        """The stamps of all files that are to be published and are not gone by now."""
        stamps = {}
        for path in self._local_files():
            with contextlib.suppress(FileNotFoundError):
                stamps[path] = self._stamp(path)
        return stamps

    def _is_copy(self, path: str, info: ObjectInfo, record: Any) -> bool:
        """Whether the local file is what the object is."""
        return (
            isinstance(record, dict)
            and record.get("etag") == info.etag
            and (self.local / path).is_file()
            and record.get("stamp") == self._stamp(path)
        )

    def _at_once(self, work: Callable[[str], Any], paths: Iterable[str]) -> list[Any]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(work, paths))

    def _write_index(self) -> None:
        self.local.mkdir(parents=True, exist_ok=True)
        write_whole(self.local / INDEX, json.dumps(self._known))
